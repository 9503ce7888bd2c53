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

/**
 * Undoes the prediction, plane by plane, then joins the planes. Predictors 0 and 1 in place. Up to 31 bytes behind the
 * planes are read, and `scratch` has room for `bandScratch` bytes. `how`: the predictor, and 4 where channels are apart.
 */
export function planes(from: usize, to: usize, width: i32, height: i32, how: i32, scratch: usize): void {
  const plane = <usize>width * height;
  const predictor = how & 3;
  // Of the green, what is added to red and blue.
  const base: v128 = i8x16.splat(how >= 4 ? 0 : -1);
  if (predictor >= 2) {
    bands(from, to, width, height, predictor == 3, base, scratch);
    return;
  }
  for (let y = 0; y < height; y++) {
    const row = from + <usize>y * width;
    if (predictor == 0) {
      left(row, width);
      left(row + plane, width);
      left(row + 2 * plane, width);
    } else if (y > 0) {
      above(row, width);
      above(row + plane, width);
      above(row + 2 * plane, width);
    }
    join(row, plane, to + (<usize>y * width << 2), width, base);
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

// Median and average. A pixel needs the one to its left, so a row alone can't be done 16 pixels at a time; but 16 rows can,
// each one pixel behind the row above it: what lane i needs from above is what lane i - 1 made a step before.
//
//   step        0 1 2 3 4 ...
//   row 0       a b c d e       Blocks of 16 rows and 16 steps are turned over, so that a step is one vector, and back.
//   row 1         a b c d       Rows are kept in `scratch` with 16 free bytes before them, where the steps go that a
//   row 2           a b c       row has to wait.

const SIDE: i32 = 16;

/** Bytes from one row of a band to the next. */
// @ts-ignore: decorator
@inline
function bandStride(width: i32): i32 {
  return SIDE + ((width + 2 * SIDE - 2) & ~(SIDE - 1)) + SIDE;
}

/** Two blocks to turn over, and of each plane a band of 16 rows below the last row of the band before. */
export function bandScratch(width: i32): i32 {
  return 2 * SIDE * SIDE + 3 * (SIDE + 1) * bandStride(width);
}

function bands(from: usize, to: usize, width: i32, height: i32, averages: bool, base: v128, scratch: usize): void {
  const plane = <usize>width * height;
  const stride = bandStride(width);
  const begin = scratch + 2 * SIDE * SIDE;
  const band = (SIDE + 1) * stride;
  // Above the first row all is 0.
  for (let i = 0; i < 3; i++) memory.fill(begin + i * band, 0, stride);
  for (let y = 0; y < height; y += SIDE) {
    const rows = min(SIDE, height - y);
    const row = from + <usize>y * width;
    for (let i = 0; i < 3; i++) undoBand(row + i * plane, width, rows, begin + i * band, stride, averages, y == 0, scratch);
    for (let i = 0; i < rows; i++) {
      join(begin + SIDE + (i + 1) * stride, band, to + (<usize>(y + i) * width << 2), width, base);
    }
    for (let i = 0; i < 3; i++) memory.copy(begin + i * band, begin + i * band + SIDE * stride, stride);
  }
}

/** Sixteen rows of one plane, of which `rows` count. `band` begins with the row above them; `top`: there is none. */
function undoBand(row: usize, width: i32, rows: i32, band: usize, stride: i32, averages: bool, top: bool, block: usize): void {
  const turned = block + SIDE * SIDE;
  const lanes = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const onlyLeft = v128.and(i8x16.eq(lanes, i8x16.splat(0)), i8x16.splat(top ? -1 : 0));
  let made = i8x16.splat(0);
  let corner = made;
  for (let begin = 0; begin < width + SIDE - 1; begin += SIDE) {
    for (let i = 0; i < SIDE; i++) {
      // Rows that do not count do what the last one does.
      let steps = v128.load(row + <usize>min(i, rows - 1) * width + begin - i);
      if (begin == 0) steps = v128.and(steps, i8x16.ge_s(lanes, i8x16.splat(<i8>i)));
      v128.store(block + i * SIDE, steps);
    }
    turn(block, turned);
    const upper = band + SIDE + begin;
    for (let step: usize = 0; step < <usize>SIDE; step++) {
      const shifted = i8x16.shuffle(made, made, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
      const above = v128.load8_lane(upper + step, shifted, 0);
      const at = block + step * SIDE;
      let predicted: v128;
      if (averages) {
        // A row's first pixel has only the one above, and the first row's only the one to the left.
        const first = i8x16.eq(lanes, i8x16.splat(begin == 0 ? <i8>step : -1));
        predicted = v128.bitselect(made, i8x16.avgr_u(v128.bitselect(above, made, first), above), onlyLeft);
      } else {
        // The median of left, above and left + above - corner is left + above - corner with the corner between the two.
        const capped = i8x16.min_u(i8x16.max_u(made, above), i8x16.max_u(i8x16.min_u(made, above), corner));
        predicted = i8x16.add(i8x16.sub(made, capped), above);
      }
      made = i8x16.add(predicted, v128.load(at));
      v128.store(at, made);
      corner = above;
    }
    turn(block, turned);
    for (let i = 0; i < SIDE; i++) v128.store(band + SIDE + (i + 1) * stride + begin - i, v128.load(block + i * SIDE));
  }
}

/** Rows of a block of 16 by 16 bytes become columns: four times, its halves' rows are interleaved. */
// @ts-ignore: decorator
@inline
function turn(block: usize, other: usize): void {
  interleave(block, other);
  interleave(other, block);
  interleave(block, other);
  interleave(other, block);
}

// @ts-ignore: decorator
@inline
function interleave(from: usize, to: usize): void {
  for (let i: usize = 0; i < 8; i++) {
    const one = v128.load(from + i * SIDE);
    const other = v128.load(from + i * SIDE, 8 * SIDE);
    v128.store(to + 2 * i * SIDE, i8x16.shuffle(one, other, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
    v128.store(to + 2 * i * SIDE, i8x16.shuffle(one, other, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), SIDE);
  }
}

/** Green, red and blue, to which the bits of green in `base` are added, to pixels. */
function join(row: usize, plane: usize, to: usize, width: i32, base: v128): void {
  const opaque = i8x16.splat(-1);
  let x = 0;
  for (; x + 16 <= width; x += 16) {
    const green = v128.load(row + x);
    const less = v128.and(green, base);
    const red = i8x16.add(v128.load(row + plane + x), less);
    const blue = i8x16.add(v128.load(row + 2 * plane + x), less);
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
    const less = green & i8x16.extract_lane_u(base, 0);
    const red = (load<u8>(row + plane + x) + less) & 255;
    const blue = (load<u8>(row + 2 * plane + x) + less) & 255;
    store<u32>(to, red | (green << 8) | (blue << 16) | OPAQUE);
    to += 4;
  }
}
