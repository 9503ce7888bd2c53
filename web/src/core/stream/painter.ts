// Draws the one ordered stream of updates on one surface. Each update is drawn as a whole and in its turn; one that has
// nothing in common with those that still wait for their video is drawn at once. Paints when called, never on a timer.
//
// What cannot be decoded makes the picture wrong from there on: it is left as it is and asked for anew (`onLost`), and
// updates are passed over until the one that begins with the screen's size.

import { type Area, areaOf, overlap } from './area';
import type { Op, Rect, Tile, Update, Video } from './messages';
import type { Frame, Surface } from './surface';
import type { TileCache } from './tileCache';
import type { TileDecoder } from './tiles';

/** Turns access units into frames, in their order. */
export interface FrameDecoder {
  /**
   * Calls `done` once, never from inside this call, unless `reset` comes first; `waited`: milliseconds until the access
   * unit was there. Throws for what it cannot take.
   */
  decode(video: Video, width: number, height: number, done: (frame: Frame, waited: number) => void): void;
  /** Forgets everything; the next access unit is a keyframe. */
  reset(): void;
}

export interface PainterOptions {
  surface: Surface;
  tiles: Pick<TileDecoder, 'decode'>;
  cache: TileCache;
  video: FrameDecoder;
  /** Milliseconds, of any clock. */
  now(): number;
  /** Every update up to `seq` is drawn; `took` milliseconds after the last of them was there, with its video. */
  onDrawn(seq: number, took: number): void;
  /** Once for every update, when its pixels were drawn. */
  onPainted(update: Update): void;
  onSize(width: number, height: number): void;
  /** The picture has to come anew. */
  onLost(reason: unknown): void;
}

/** An operation with its pixels at hand. */
type Ready =
  | Exclude<Op, Tile | { op: 'cached' }>
  | { op: 'pixels' | 'over'; rect: Rect; rgba: Uint8ClampedArray<ArrayBuffer> };

/** An update that is not acknowledged yet. */
interface Taken {
  readonly update: Update;
  /** Its last part. */
  arrived: number;
  readonly area: Area;
  /** What to draw; null once it is drawn. */
  ready: readonly Ready[] | null;
  /** One for each video, as they come. */
  readonly frames: (Frame | null)[];
}

/** Larger screens are refused: pixels on a side, and in all. */
const LONGEST_SIDE = 16_384;
const MOST_PIXELS = 1 << 26;

export class Painter {
  readonly #options: PainterOptions;
  /** In order of their numbers; the first is not drawn yet. */
  #taken: Taken[] = [];
  #lastSeq: number | null = null;
  /** The size after all updates that were taken, drawn or not. */
  #width = 0;
  #height = 0;
  #lost = true;
  /** What the last update that was taken says. */
  #exact = false;

  constructor(options: PainterOptions) {
    this.#options = options;
  }

  /** Whether the picture is the session's screen, pixel by pixel. */
  get exact(): boolean {
    return this.#exact && !this.#lost && this.#taken.length === 0;
  }

  /** The last update drawn, when nothing waits. */
  get settledAt(): number | null {
    return this.#lost || this.#taken.length > 0 ? null : this.#lastSeq;
  }

  take(update: Update, arrived: number): void {
    try {
      this.#take(update, arrived);
    } catch (error) {
      this.lose(error);
    }
  }

  /** The decoder failed and what it was given will not come, or what was drawn is gone. */
  lose(reason: unknown): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#clear();
    this.#options.onLost(reason);
    // The agent waits for what it has sent; the picture that it sends next does not depend on it.
    if (this.#lastSeq !== null) this.#options.onDrawn(this.#lastSeq, 0);
  }

  stop(): void {
    this.#clear();
    this.#lost = true;
  }

  #take(update: Update, arrived: number): void {
    if (this.#lastSeq !== null && update.seq !== (this.#lastSeq + 1) >>> 0) {
      const expected = this.#lastSeq + 1;
      this.#lastSeq = update.seq;
      throw new Error(`update ${update.seq} came when ${expected} was due`);
    }
    this.#lastSeq = update.seq;
    this.#exact = update.exact;
    if (this.#lost) {
      if (update.ops[0]?.op !== 'size') {
        this.#options.onDrawn(update.seq, 0);
        return;
      }
      this.#lost = false;
    }

    if (this.#taken.length === 0 && !update.ops.some((op) => op.op === 'video')) {
      for (const op of update.ops) this.#drawNow(op);
      this.#options.onPainted(update);
      this.#options.onDrawn(update.seq, this.#options.now() - arrived);
      return;
    }
    const taken: Taken = { update, arrived, area: areaOf(update.ops), ready: null, frames: [] };
    this.#taken.push(taken);
    taken.ready = update.ops.map((op) => this.#prepare(op, taken));
    this.#drawWhatCan();
  }

  /** The short way, for an update that waits for nothing: without a copy of its pixels. */
  #drawNow(op: Op): void {
    switch (op.op) {
      case 'tile': {
        this.#within(op.rect);
        const rgba = this.#options.tiles.decode(op.codec, op.rect.width, op.rect.height, op.data);
        this.#options.surface[drawnBy(op)](op.rect, rgba);
        if (op.slot !== null) this.#options.cache.put(op.slot, op.rect, rgba.slice());
        break;
      }
      case 'cached':
        this.#within(op.rect);
        this.#options.surface.pixels(op.rect, this.#options.cache.get(op.slot, op.rect));
        break;
      default:
        this.#check(op);
        this.#draw(op, () => null);
    }
  }

  /** Decodes at arrival, so that slots hold what they hold at this place of the stream. */
  #prepare(op: Op, taken: Taken): Ready {
    switch (op.op) {
      case 'tile': {
        this.#within(op.rect);
        const rgba = this.#options.tiles.decode(op.codec, op.rect.width, op.rect.height, op.data).slice();
        if (op.slot !== null) this.#options.cache.put(op.slot, op.rect, rgba);
        return { op: drawnBy(op), rect: op.rect, rgba };
      }
      case 'cached':
        this.#within(op.rect);
        return { op: 'pixels', rect: op.rect, rgba: this.#options.cache.get(op.slot, op.rect) };
      default:
        this.#check(op);
        if (op.op === 'video') this.#decode(op, taken);
        return op;
    }
  }

  #decode(video: Video, taken: Taken): void {
    const at = taken.frames.push(null) - 1;
    const { arrived } = taken;
    this.#options.video.decode(video, this.#width, this.#height, (frame, waited) => {
      // Meanwhile it was given up.
      if (!this.#taken.includes(taken)) {
        frame.close();
        return;
      }
      taken.frames[at] = frame;
      taken.arrived = Math.max(taken.arrived, arrived + waited);
      try {
        this.#drawWhatCan();
      } catch (error) {
        this.lose(error);
      }
    });
  }

  #drawWhatCan(): void {
    const undrawn: Area[] = [];
    for (const taken of this.#taken) {
      const { ready, frames, area, update } = taken;
      if (ready === null) continue;
      if (frames.includes(null) || undrawn.some((other) => overlap(area, other))) {
        undrawn.push(area);
        continue;
      }
      let next = 0;
      for (const op of ready) this.#draw(op, () => frames[next++] ?? null);
      taken.ready = null;
      closeAll(frames);
      this.#options.onPainted(update);
    }
    this.#acknowledge();
  }

  #acknowledge(): void {
    let last: Taken | undefined;
    while (this.#taken[0]?.ready === null) last = this.#taken.shift();
    if (last) this.#options.onDrawn(last.update.seq, this.#options.now() - last.arrived);
  }

  #draw(op: Ready, nextFrame: () => Frame | null): void {
    const { surface } = this.#options;
    switch (op.op) {
      case 'size':
        surface.resize(op.width, op.height);
        this.#options.onSize(op.width, op.height);
        break;
      case 'fill':
        surface.fill(op.rect, op.rgb);
        break;
      case 'pixels':
      case 'over':
        surface[op.op](op.rect, op.rgba);
        break;
      case 'copy':
        surface.copy(op.rect, op.toX, op.toY);
        break;
      case 'video': {
        const frame = nextFrame();
        if (frame) surface.frame(frame, op.rects);
        break;
      }
    }
  }

  /** Throws for what lies outside of the screen. */
  #check(op: Exclude<Ready, { rgba: unknown }>): void {
    switch (op.op) {
      case 'size':
        if (op.width === 0 || op.height === 0 || Math.max(op.width, op.height) > LONGEST_SIDE || op.width * op.height > MOST_PIXELS) {
          throw new Error(`a screen of ${op.width} by ${op.height}`);
        }
        this.#width = op.width;
        this.#height = op.height;
        this.#options.cache.clear();
        break;
      case 'fill':
        this.#within(op.rect);
        break;
      case 'copy':
        this.#within(op.rect);
        this.#within({ ...op.rect, x: op.toX, y: op.toY });
        break;
      case 'video':
        for (const rect of op.rects) this.#within(rect);
        break;
    }
  }

  #within({ x, y, width, height }: Rect): void {
    if (x + width > this.#width || y + height > this.#height) throw new Error(`${width}x${height}+${x}+${y} is not on the screen`);
  }

  #clear(): void {
    for (const { frames } of this.#taken) closeAll(frames);
    this.#taken = [];
    this.#options.cache.clear();
    this.#options.video.reset();
  }
}

function drawnBy({ codec, slot }: Tile): 'pixels' | 'over' {
  if (codec !== 'partial') return 'pixels';
  if (slot !== null) throw new Error('a part of a tile is for no slot');
  return 'over';
}

function closeAll(frames: (Frame | null)[]): void {
  for (const frame of frames.splice(0)) frame?.close();
}
