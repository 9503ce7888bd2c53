// Which pixels an update reads or writes, and whether two updates get into each other's way.

import type { Op, Rect } from './messages';

/** `all`: the whole screen. */
export type Area = readonly Rect[] | 'all';

export function areaOf(ops: readonly Op[]): Area {
  const rects: Rect[] = [];
  for (const op of ops) {
    switch (op.op) {
      case 'size':
        return 'all';
      case 'fill':
      case 'tile':
      case 'cached':
        rects.push(op.rect);
        break;
      case 'copy':
        rects.push(op.rect, { ...op.rect, x: op.toX, y: op.toY });
        break;
      case 'video':
        rects.push(...op.rects);
        break;
    }
  }
  return rects;
}

export function overlap(one: Area, other: Area): boolean {
  if (one === 'all' || other === 'all') return true;
  return one.some((a) => other.some((b) => meet(a, b)));
}

function meet(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
