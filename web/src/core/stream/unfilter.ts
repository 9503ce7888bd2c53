// Tiles' bytes to pixels in plain TypeScript, for browsers whose WebAssembly has no SIMD: what web/wasm/unfilter.ts does.

/** Works on addresses in one memory. Pixels are written as red, green, blue, 255. */
export interface Unfilter {
  /** Three bytes a pixel to four. */
  raw(from: number, to: number, count: number): void;
  /** Undoes the prediction, then joins the planes. Reads up to `SLACK` bytes behind them; `scratch` has `bandScratch` bytes. */
  planes(from: number, to: number, width: number, height: number, predictor: number, scratch: number): void;
  bandScratch(width: number): number;
  /** Indices of `bits` bits to the colours of `table`, four bytes each; zero when an index has none. */
  palette(from: number, bits: number, table: number, to: number, width: number, height: number): number;
}

export const SLACK = 31;

export class PlainUnfilter implements Unfilter {
  readonly #memory: WebAssembly.Memory;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
  }

  // Indices are within the memory: the caller's buffers are as long as width and height say.

  raw(from: number, to: number, count: number): void {
    const bytes = new Uint8Array(this.#memory.buffer);
    for (let i = 0; i < count; i++) {
      bytes[to++] = bytes[from++]!;
      bytes[to++] = bytes[from++]!;
      bytes[to++] = bytes[from++]!;
      bytes[to++] = 255;
    }
  }

  planes(from: number, to: number, width: number, height: number, predictor: number): void {
    const plane = width * height;
    const bytes = new Uint8Array(this.#memory.buffer);
    for (let i = 0; i < 3; i++) unpredict(bytes.subarray(from + i * plane, from + (i + 1) * plane), width, predictor & 3);
    const apart = predictor >= 4;
    for (let end = from + plane; from < end; from++, to += 4) {
      const green = bytes[from]!;
      const base = apart ? 0 : green;
      bytes[to] = bytes[from + plane]! + base;
      bytes[to + 1] = green;
      bytes[to + 2] = bytes[from + 2 * plane]! + base;
      bytes[to + 3] = 255;
    }
  }

  bandScratch(): number {
    return 0;
  }

  palette(from: number, bits: number, table: number, to: number, width: number, height: number): number {
    const bytes = new Uint8Array(this.#memory.buffer);
    const colours = new Uint32Array(this.#memory.buffer, table, 256);
    const pixels = new Uint32Array(this.#memory.buffer, to, width * height);
    const mask = (1 << bits) - 1;
    let every = 0xff00_0000;
    let at = 0;
    for (let y = 0; y < height; y++) {
      let left = 0;
      let packed = 0;
      for (let x = 0; x < width; x++) {
        if (left === 0) {
          packed = bytes[from++]!;
          left = 8;
        }
        left -= bits;
        const colour = colours[(packed >> left) & mask]!;
        every &= colour;
        pixels[at++] = colour;
      }
    }
    return every >>> 24 === 255 ? 1 : 0;
  }
}

function unpredict(plane: Uint8Array, width: number, predictor: number): void {
  for (let row = 0; row < plane.length; row += width) {
    if (predictor === 0 || (predictor >= 2 && row === 0)) {
      for (let i = row + 1; i < row + width; i++) plane[i]! += plane[i - 1]!;
    } else if (row > 0) {
      if (predictor === 1) for (let i = row; i < row + width; i++) plane[i]! += plane[i - width]!;
      else if (predictor === 2) median(plane, row, width);
      else average(plane, row, width);
    }
  }
}

function median(plane: Uint8Array, row: number, width: number): void {
  let left = 0;
  let corner = 0;
  for (let i = row; i < row + width; i++) {
    const above = plane[i - width]!;
    const low = left < above ? left : above;
    const high = left < above ? above : left;
    const slope = left + above - corner;
    left = (plane[i]! + (slope < low ? low : slope > high ? high : slope)) & 255;
    plane[i] = left;
    corner = above;
  }
}

function average(plane: Uint8Array, row: number, width: number): void {
  let left = plane[row - width]!;
  for (let i = row; i < row + width; i++) {
    // The first pixel has only the one above.
    left = (plane[i]! + ((left + plane[i - width]! + 1) >> 1)) & 255;
    plane[i] = left;
  }
}
