// Copies that follow one another and go the same way, as one move: drawing a canvas on itself, a browser keeps a picture of all
// of it each time.

import type { Op, Rect } from './messages';
import { overlap } from './area';

/** Pixels that are moved at once: what is read is what was there before. */
export interface Move {
  readonly op: 'move';
  /** Where they come from. */
  readonly rects: readonly Rect[];
  readonly dx: number;
  readonly dy: number;
}

export type Step = Exclude<Op, { op: 'copy' }> | Move;

/** The same operations; a copy that reads what one before it has drawn stays apart from it. */
export function joinCopies(ops: readonly Op[]): Step[] {
  const steps: Step[] = [];
  for (const op of ops) {
    if (op.op !== 'copy') {
      steps.push(op);
      continue;
    }
    const [dx, dy] = [op.toX - op.rect.x, op.toY - op.rect.y];
    const last = steps.at(-1);
    if (last?.op === 'move' && last.dx === dx && last.dy === dy && !overlap([op.rect], last.rects.map((rect) => moved(rect, dx, dy)))) {
      steps[steps.length - 1] = { ...last, rects: [...last.rects, op.rect] };
    } else {
      steps.push({ op: 'move', rects: [op.rect], dx, dy });
    }
  }
  return steps;
}

export function moved({ x, y, width, height }: Rect, dx: number, dy: number): Rect {
  return { x: x + dx, y: y + dy, width, height };
}
