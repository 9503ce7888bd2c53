// A surface of bytes, and frames of one colour. For tests only.

import type { Rect } from '../messages';
import type { Frame, Surface } from '../surface';

export class FakeFrame implements Frame {
  readonly rgb: readonly [number, number, number];
  closed = 0;

  constructor(rgb: readonly [number, number, number]) {
    this.rgb = rgb;
  }

  close(): void {
    this.closed++;
  }
}

export class MemorySurface implements Surface {
  width = 0;
  height = 0;
  #rgba = new Uint8ClampedArray();

  resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.#rgba = new Uint8ClampedArray(width * height * 4);
    this.fill({ x: 0, y: 0, width, height }, [0, 0, 0]);
  }

  fill(rect: Rect, rgb: readonly [number, number, number]): void {
    this.#each(rect, (at) => this.#rgba.set([...rgb, 255], at));
  }

  pixels(rect: Rect, rgba: Uint8ClampedArray): void {
    let from = 0;
    this.#each(rect, (at) => {
      this.#rgba.set(rgba.subarray(from, from + 4), at);
      from += 4;
    });
  }

  over(rect: Rect, rgba: Uint8ClampedArray): void {
    let from = 0;
    this.#each(rect, (at) => {
      if (rgba[from + 3]) this.#rgba.set(rgba.subarray(from, from + 4), at);
      from += 4;
    });
  }

  copy(rect: Rect, toX: number, toY: number): void {
    const before: number[] = [];
    this.#each(rect, (at) => before.push(...this.#rgba.subarray(at, at + 4)));
    this.pixels({ ...rect, x: toX, y: toY }, Uint8ClampedArray.from(before));
  }

  frame(frame: Frame, rects: readonly Rect[]): void {
    if (!(frame instanceof FakeFrame) || frame.closed > 0) throw new Error('no frame to draw');
    for (const rect of rects) this.fill(rect, frame.rgb);
  }

  read(): Uint8ClampedArray<ArrayBuffer> {
    return this.#rgba.slice();
  }

  /** Red, green, blue. */
  at(x: number, y: number): number[] {
    const at = (y * this.width + x) * 4;
    return [...this.#rgba.subarray(at, at + 3)];
  }

  #each({ x, y, width, height }: Rect, visit: (at: number) => void): void {
    if (x + width > this.width || y + height > this.height) throw new Error('beside the surface');
    for (let row = y; row < y + height; row++) {
      for (let column = x; column < x + width; column++) visit((row * this.width + column) * 4);
    }
  }
}
