// Decoded tiles that the agent may ask for again by their slot. It decides what is kept; this only sees to it that it
// keeps to what was agreed.

import type { Rect } from './messages';
import { TileError } from './tiles';

interface Kept {
  width: number;
  height: number;
  rgba: Uint8ClampedArray<ArrayBuffer>;
}

export class TileCache {
  readonly #most: number;
  readonly #slots = new Map<number, Kept>();
  #pixels = 0;

  /** `most`: pixels in all slots together. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Keeps `rgba` itself. */
  put(slot: number, { width, height }: Rect, rgba: Uint8ClampedArray<ArrayBuffer>): void {
    const before = this.#slots.get(slot);
    this.#pixels += width * height - (before ? before.width * before.height : 0);
    if (this.#pixels > this.#most) throw new TileError('more tiles than there is room for');
    this.#slots.set(slot, { width, height, rgba });
  }

  get(slot: number, { width, height }: Rect): Uint8ClampedArray<ArrayBuffer> {
    const kept = this.#slots.get(slot);
    if (kept?.width !== width || kept.height !== height) throw new TileError(`no such tile in slot ${slot}`);
    return kept.rgba;
  }

  clear(): void {
    this.#slots.clear();
    this.#pixels = 0;
  }
}
