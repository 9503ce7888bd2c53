// Tiles' bytes to pixels, in AssemblyScript with SIMD: what web/src/core/stream/unfilter.ts does in plain TypeScript.
// Works in the memory of the Zstandard decoder, on addresses that its malloc gave; has no memory of its own.
// Pixels are written as red, green, blue, 255.

const OPAQUE: u32 = 0xff000000;

/** Three bytes a pixel to four. */
export function raw(from: usize, to: usize, count: i32): void {
  const opaque = i32x4.splat(OPAQUE);
  let i: i32 = 0;
  // Reads 16 bytes to use 12: the last pixels go one by one.
  for (; i + 6 <= count; i += 4) {
    const packed = v128.load(from);
    const spread = i8x16.swizzle(packed, i8x16(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    v128.store(to, v128.or(spread, opaque));
    from += 12;
    to += 16;
  }
  for (; i < count; i++) {
    store<u32>(to, <u32>load<u8>(from) | (<u32>load<u8>(from, 1) << 8) | (<u32>load<u8>(from, 2) << 16) | OPAQUE);
    from += 3;
    to += 4;
  }
}

/** Undoes the prediction in place, plane by plane, then joins the planes. */
export function planes(from: usize, to: usize, width: i32, height: i32, predictor: i32): void {
  const plane = <usize>width * height;
  for (let y = 0; y < height; y++) {
    const row = from + <usize>y * width;
    if (predictor == 0 || (predictor == 2 && y == 0)) {
      left(row, width);
      left(row + plane, width);
      left(row + 2 * plane, width);
    } else if (y > 0) {
      if (predictor == 1) {
        above(row, width);
        above(row + plane, width);
        above(row + 2 * plane, width);
      } else {
        median(row, plane, width);
      }
    }
    join(row, plane, to + (<usize>y * width << 2), width);
  }
}

/** Indices of `bits` bits to the colours of `table`, four bytes each. False when an index has no colour: 0 in the table. */
export function palette(from: usize, bits: i32, table: usize, to: usize, width: i32, height: i32): bool {
  let all: u32 = OPAQUE;
  const mask = (1 << bits) - 1;
  for (let y = 0; y < height; y++) {
    let left = 0;
    let packed: u32 = 0;
    for (let x = 0; x < width; x++) {
      if (left == 0) {
        packed = load<u8>(from++);
        left = 8;
      }
      left -= bits;
      const colour = load<u32>(table + (<usize>((packed >> left) & mask) << 2));
      all &= colour;
      store<u32>(to, colour);
      to += 4;
    }
  }
  return all >= OPAQUE;
}

function left(row: usize, width: i32): void {
  const zero = i8x16.splat(0);
  let before = zero;
  let x = 0;
  for (; x + 16 <= width; x += 16) {
    let sums = v128.load(row + x);
    sums = i8x16.add(sums, i8x16.shuffle(zero, sums, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30));
    sums = i8x16.add(sums, i8x16.shuffle(zero, sums, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29));
    sums = i8x16.add(sums, i8x16.shuffle(zero, sums, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27));
    sums = i8x16.add(sums, i8x16.shuffle(zero, sums, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23));
    sums = i8x16.add(sums, before);
    v128.store(row + x, sums);
    before = i8x16.shuffle(sums, sums, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15);
  }
  let sum: u32 = i8x16.extract_lane_u(before, 0);
  for (; x < width; x++) {
    sum += load<u8>(row + x);
    store<u8>(row + x, <u8>sum);
  }
}

function above(row: usize, width: i32): void {
  const upper = row - width;
  let x = 0;
  for (; x + 16 <= width; x += 16) v128.store(row + x, i8x16.add(v128.load(row + x), v128.load(upper + x)));
  for (; x < width; x++) store<u8>(row + x, load<u8>(row + x) + load<u8>(upper + x));
}

/** Each pixel needs the one before it; the three planes do not need each other, and so fill the processor. */
function median(row: usize, plane: usize, width: i32): void {
  let upper = row - width;
  let a0: i32 = 0, a1: i32 = 0, a2: i32 = 0;
  let c0: i32 = 0, c1: i32 = 0, c2: i32 = 0;
  for (let x = 0; x < width; x++) {
    const b0: i32 = load<u8>(upper), b1: i32 = load<u8>(upper + plane), b2: i32 = load<u8>(upper + 2 * plane);
    a0 = (load<u8>(row) + predicted(a0, b0, c0)) & 255;
    a1 = (load<u8>(row + plane) + predicted(a1, b1, c1)) & 255;
    a2 = (load<u8>(row + 2 * plane) + predicted(a2, b2, c2)) & 255;
    store<u8>(row, <u8>a0);
    store<u8>(row + plane, <u8>a1);
    store<u8>(row + 2 * plane, <u8>a2);
    c0 = b0;
    c1 = b1;
    c2 = b2;
    row++;
    upper++;
  }
}

// @ts-ignore: decorator
@inline
function predicted(left: i32, above: i32, corner: i32): i32 {
  const low = select(left, above, left < above);
  const high = select(above, left, left < above);
  const slope = left + above - corner;
  const capped = select(slope, high, slope < high);
  return select(capped, low, capped > low);
}

/** Green, red - green and blue - green to pixels. */
function join(row: usize, plane: usize, to: usize, width: i32): void {
  const opaque = i8x16.splat(-1);
  let x = 0;
  for (; x + 16 <= width; x += 16) {
    const green = v128.load(row + x);
    const red = i8x16.add(v128.load(row + plane + x), green);
    const blue = i8x16.add(v128.load(row + 2 * plane + x), green);
    const redGreenLow = i8x16.shuffle(red, green, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const redGreenHigh = i8x16.shuffle(red, green, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const blueLow = i8x16.shuffle(blue, opaque, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const blueHigh = i8x16.shuffle(blue, opaque, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    v128.store(to, i16x8.shuffle(redGreenLow, blueLow, 0, 8, 1, 9, 2, 10, 3, 11), 0);
    v128.store(to, i16x8.shuffle(redGreenLow, blueLow, 4, 12, 5, 13, 6, 14, 7, 15), 16);
    v128.store(to, i16x8.shuffle(redGreenHigh, blueHigh, 0, 8, 1, 9, 2, 10, 3, 11), 32);
    v128.store(to, i16x8.shuffle(redGreenHigh, blueHigh, 4, 12, 5, 13, 6, 14, 7, 15), 48);
    to += 64;
  }
  for (; x < width; x++) {
    const green: u32 = load<u8>(row + x);
    const red = (load<u8>(row + plane + x) + green) & 255;
    const blue = (load<u8>(row + 2 * plane + x) + green) & 255;
    store<u32>(to, red | (green << 8) | (blue << 16) | OPAQUE);
    to += 4;
  }
}
