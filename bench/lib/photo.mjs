// A photograph of 12 megapixels, the same each time: soft shapes under the noise of a camera, as PNG.

import { crc32, deflateSync } from 'node:zlib';

export const PHOTO = { name: 'photograph.png', width: 4000, height: 3000 };

/** As a file for Playwright's `setInputFiles`. */
export function photograph() {
  return { name: PHOTO.name, mimeType: 'image/png', buffer: png(PHOTO.width, PHOTO.height, pixels(PHOTO.width, PHOTO.height)) };
}

/** Rows of red, green, blue, each after the 0 of "no filter". */
function pixels(width, height) {
  const wave = (length, period) => Float64Array.from({ length }, (_, at) => Math.sin(at / period));
  const [wide, high, across, fine] = [wave(width, 271), wave(height, 193), wave(width + height, 97), wave(width + height, 23)];
  let state = 1;
  const out = Buffer.alloc(height * (1 + width * 3));
  let at = 0;
  for (let y = 0; y < height; y++) {
    at++;
    for (let x = 0; x < width; x++) {
      const shape = wide[x] + high[y] + across[x + y] / 2 + fine[Math.abs(x - y)] / 4;
      for (const [middle, depth] of [[140, 30], [128, 32], [104, 34]]) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        out[at++] = middle + depth * shape + ((state >>> 8) / 0xff_ffff - 0.5) * 8;
      }
    }
  }
  return out;
}

function png(width, height, data) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  const chunks = [['IHDR', header], ['IDAT', deflateSync(data, { level: 1 })], ['IEND', Buffer.alloc(0)]];
  return Buffer.concat([Buffer.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10), ...chunks.map(([type, body]) => chunk(type, body))]);
}

function chunk(type, body) {
  const named = Buffer.concat([Buffer.from(type), body]);
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  check.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, check]);
}
