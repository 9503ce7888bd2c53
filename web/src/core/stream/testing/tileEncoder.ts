// The tiles' codecs the other way round, as slow and plain as the protocol describes them. For tests only.

/** 4 more: channels apart. */
export type Predictor = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** `rgb`: three bytes a pixel. */
export function encodePlanes(rgb: Uint8Array, width: number, height: number, predictor: Predictor): Uint8Array {
  const count = width * height;
  const planes = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) {
    const [red = 0, green = 0, blue = 0] = rgb.subarray(i * 3, i * 3 + 3);
    planes[i] = green;
    const base = predictor >= 4 ? 0 : green;
    planes[count + i] = red - base;
    planes[2 * count + i] = blue - base;
  }
  const differences = new Uint8Array(count * 3);
  for (let plane = 0; plane < 3; plane++) {
    const at = (x: number, y: number) => (x < 0 || y < 0 ? 0 : (planes[plane * count + y * width + x] ?? 0));
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [left, above, corner] = [at(x - 1, y), at(x, y - 1), at(x - 1, y - 1)];
        const average = y === 0 ? left : x === 0 ? above : (left + above + 1) >> 1;
        const predicted = [left, above, median(left, above, left + above - corner), average][predictor & 3] ?? 0;
        differences[plane * count + y * width + x] = at(x, y) - predicted;
      }
    }
  }
  return concatenated([predictor], zstdFrame(differences));
}

/** The pixels of which `differs` says so, by their place. */
export function encodePartial(rgb: Uint8Array, width: number, height: number, apart: boolean, differs: (at: number) => boolean): Uint8Array {
  const stride = Math.ceil(width / 8);
  const bits = new Uint8Array(stride * height);
  const planes: number[][] = [[], [], []];
  let before = [0, 0, 0];
  for (let at = 0; at < width * height; at++) {
    if (!differs(at)) continue;
    bits[Math.floor(at / width) * stride + ((at % width) >> 3)]! |= 0x80 >> (at % width & 7);
    const [red = 0, green = 0, blue = 0] = rgb.subarray(at * 3, at * 3 + 3);
    const now = [green, red - (apart ? 0 : green), blue - (apart ? 0 : green)];
    planes.forEach((plane, i) => plane.push((now[i] ?? 0) - (before[i] ?? 0)));
    before = now;
  }
  return concatenated([apart ? 4 : 0], zstdFrame(concatenated(bits, ...planes.map((plane) => Uint8Array.from(plane)))));
}

export function encodePalette(rgb: Uint8Array, width: number, height: number): Uint8Array {
  const colours: number[][] = [];
  const index = new Map<string, number>();
  const indices: number[] = [];
  for (let i = 0; i < width * height; i++) {
    const colour = [...rgb.subarray(i * 3, i * 3 + 3)];
    const found = index.get(colour.join()) ?? colours.push(colour) - 1;
    index.set(colour.join(), found);
    indices.push(found);
  }
  const bits = colours.length <= 2 ? 1 : colours.length <= 4 ? 2 : colours.length <= 16 ? 4 : 8;
  const stride = Math.ceil((width * bits) / 8);
  const packed = new Uint8Array(stride * height);
  indices.forEach((value, i) => {
    const bit = (i % width) * bits;
    packed[Math.floor(i / width) * stride + (bit >> 3)]! |= value << (8 - bits - (bit & 7));
  });
  return concatenated([colours.length - 1], ...colours, zstdFrame(packed));
}

/** A Zstandard frame of raw blocks: right, though it compresses nothing. */
export function zstdFrame(content: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(9));
  header.setUint32(0, 0xfd2f_b528, true);
  // Single segment, four bytes of content size.
  header.setUint8(4, 0b1010_0000);
  header.setUint32(5, content.length, true);
  const parts: ArrayLike<number>[] = [new Uint8Array(header.buffer)];
  const LONGEST = 1 << 17;
  for (let at = 0; at === 0 || at < content.length; at += LONGEST) {
    const block = content.subarray(at, at + LONGEST);
    const last = at + LONGEST >= content.length ? 1 : 0;
    const head = last | (block.length << 3);
    parts.push([head & 255, (head >> 8) & 255, head >> 16], block);
  }
  return concatenated(...parts);
}

function median(a: number, b: number, c: number): number {
  return [a, b, c].sort((one, other) => one - other)[1] ?? 0;
}

function concatenated(...parts: ArrayLike<number>[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
