import { expect, test } from 'vitest';

import { TileDecoder, TileError } from './tiles';
import { seeded } from './testing/random';
import { encodePalette, encodePartial, encodePlanes, zstdFrame } from './testing/tileEncoder';

const decoders = { fastest: await TileDecoder.create('fastest'), plain: await TileDecoder.create('plain') };
const both = Object.entries(decoders);
const random = seeded(7);
const FRAME = '28b52ffd60b0033d0200c4030002000200020002000200020002000200020002000100010001000100010001000100010001000100fe05fe0afe0ffe14fe19fe1efe23fe28fe2dfe1e54020021ffffff7f';
const SIZES = [[1, 1], [1, 9], [2, 3], [15, 2], [16, 16], [17, 5], [31, 3], [33, 2], [64, 64], [200, 7]] as const;

test('the SIMD module is what the fastest is', () => {
  expect(decoders.fastest.fast).toBe(true);
  expect(decoders.plain.fast).toBe(false);
});

test.each(both)('%s: raw', (_, decoder) => {
  for (const [width, height] of SIZES) {
    const rgb = noise(width * height * 3);
    same(decoder.decode('raw', width, height, rgb), opaque(rgb));
  }
});

test.each(both)('%s: planes with every predictor', (_, decoder) => {
  for (const [width, height] of SIZES) {
    for (const rgb of [noise(width * height * 3), slope(width, height)]) {
      for (const predictor of [0, 1, 2, 3, 4, 5, 6, 7] as const) {
        const packed = encodePlanes(rgb, width, height, predictor);
        same(decoder.decode('planes', width, height, packed), opaque(rgb), `${width}x${height} by ${predictor}`);
      }
    }
  }
});

test.each(both)('%s: some pixels only', (_, decoder) => {
  for (const [width, height] of SIZES) {
    for (const differs of [() => true, () => false, (at: number) => at % 7 === 3]) {
      const rgb = noise(width * height * 3);
      for (const apart of [true, false]) {
        const wanted = opaque(rgb).map((value, i) => (differs(i >> 2) ? value : 0));
        same(decoder.decode('partial', width, height, encodePartial(rgb, width, height, apart, differs)), wanted);
      }
    }
  }
});

test.each(both)('%s: palette of every depth', (_, decoder) => {
  for (const [width, height] of SIZES) {
    for (const colours of [1, 2, 3, 4, 5, 16, 17, 256]) {
      const table = noise(colours * 3);
      const rgb = new Uint8Array(width * height * 3);
      for (let i = 0; i < width * height; i++) {
        const colour = random(colours);
        rgb.set(table.subarray(colour * 3, colour * 3 + 3), i * 3);
      }
      same(decoder.decode('palette', width, height, encodePalette(rgb, width, height)), opaque(rgb), `${colours}`);
    }
  }
});

test.each(both)('%s: what `zstd -1` made', (_, decoder) => {
  const frame = Buffer.from(FRAME, 'hex');
  const rgb = Uint8Array.from({ length: 40 * 10 * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % 40, Math.floor(i / 3 / 40)];
    return [x * 3, x * 2, y * 5][i % 3] ?? 0;
  });
  same(decoder.decode('planes', 40, 10, Uint8Array.from([0, ...frame])), opaque(rgb));
});

test.each(both)('%s: whatever does not fit is a TileError', (_, decoder) => {
  const rgb = noise(12);
  const planes = encodePlanes(rgb, 2, 2, 0);
  const wrong = [
    () => decoder.decode('raw', 2, 2, rgb.subarray(1)),
    () => decoder.decode('raw', 0, 2, new Uint8Array()),
    () => decoder.decode('planes', 2, 2, new Uint8Array()),
    () => decoder.decode('planes', 2, 2, planes.subarray(0, -1)),
    () => decoder.decode('planes', 2, 3, planes),
    () => decoder.decode('planes', 2, 1, planes),
    () => decoder.decode('planes', 2, 2, Uint8Array.from([8, ...planes.subarray(1)])),
    () => decoder.decode('palette', 2, 2, new Uint8Array()),
    () => decoder.decode('palette', 2, 2, Uint8Array.from([5, 1, 2, 3])),
    () => decoder.decode('partial', 2, 2, new Uint8Array()),
    () => decoder.decode('partial', 2, 2, Uint8Array.from([1, ...encodePartial(rgb, 2, 2, true, () => true).subarray(1)])),
    // A bit more than there are pixels, bits of a row missing, and a bit beside the tile without a pixel.
    () => decoder.decode('partial', 2, 1, Uint8Array.from([0, ...zstdFrame(Uint8Array.of(0b1100_0000, 1, 2, 3))])),
    () => decoder.decode('partial', 2, 2, Uint8Array.from([0, ...zstdFrame(Uint8Array.of(0))])),
    // Three colours and the index of a fourth.
    () => decoder.decode('palette', 4, 1, Uint8Array.from([2, ...noise(9), ...zstdFrame(Uint8Array.of(0b0001_1011))])),
  ];
  for (const [i, attempt] of wrong.entries()) expect(attempt, `${i}`).toThrow(TileError);
  expect(decoder.decode('planes', 2, 2, planes)).toEqual(opaque(rgb));
});

test('random bytes never do worse than a TileError, and both ways agree', () => {
  for (let round = 0; round < 3_000; round++) {
    const [width, height] = [1 + random(20), 1 + random(20)];
    const codec = (['raw', 'planes', 'palette', 'partial'] as const)[random(4)] ?? 'raw';
    const rgb = noise(width * height * 3);
    const some = () => random(3) === 0;
    const data = codec === 'raw' ? rgb : codec === 'partial' ? encodePartial(rgb, width, height, random(2) === 0, some) : codec === 'planes' ? encodePlanes(rgb, width, height, random(2) ? 2 : 7) : encodePalette(rgb, 1, 1);
    for (let flips = random(3); flips > 0; flips--) data[random(data.length)] = random(256);
    const results = both.map(([, decoder]) => {
      try {
        return decoder.decode(codec, width, height, data).slice();
      } catch (error) {
        if (error instanceof TileError) return 'refused';
        throw error;
      }
    });
    const [fastest, plain] = results;
    if (fastest instanceof Uint8ClampedArray && plain instanceof Uint8ClampedArray) same(fastest, plain);
    else expect(fastest).toBe(plain);
  }
});

function noise(length: number): Uint8Array {
  return new Uint8Array(length).map(() => random(256));
}

function slope(width: number, height: number): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, i) => Math.floor(i / 3 / width) * 3 + ((i / 3) % width) + (i % 3) * 90);
}

function opaque(rgb: Uint8Array): Uint8ClampedArray {
  const pixels = new Uint8ClampedArray((rgb.length / 3) * 4).fill(255);
  for (let i = 0; i < rgb.length; i++) pixels[Math.floor(i / 3) * 4 + (i % 3)] = rgb[i] ?? 0;
  return pixels;
}

/** Much quicker than `toEqual`. */
function same(got: Uint8ClampedArray, wanted: Uint8ClampedArray, what = ''): void {
  if (Buffer.compare(Buffer.from(got), Buffer.from(wanted)) !== 0) expect(got, what).toEqual(wanted);
}
