// A picture as hard to compress as a photograph, cut and packed as the agent does: 128x64 tiles, median predictor,
// Zstandard level 1. Needs the program zstd.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export function photoTiles(width, height, seed) {
  const planes = picture(width, height, seed);
  const folder = mkdtempSync(join(tmpdir(), 'photo-tiles-'));
  try {
    const tiles = [];
    for (let y = 0; y < height; y += 64) {
      for (let x = 0; x < width; x += 128) {
        const rect = { x, y, width: Math.min(128, width - x), height: Math.min(64, height - y) };
        const file = join(folder, String(tiles.length));
        writeFileSync(file, residuals(planes, width, rect));
        tiles.push({ rect, file });
      }
    }
    execFileSync('zstd', ['-1', '-q', '--no-check', ...tiles.map(({ file }) => file)]);
    return tiles.map(({ rect, file }) => ({ rect, data: Buffer.concat([Buffer.of(2), readFileSync(`${file}.zst`)]) }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Green, red - green, blue - green: soft shapes under the noise of a camera. */
function picture(width, height, seed) {
  let state = seed;
  const noise = (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 8) / 0xff_ffff - 0.5) * 2 * most;
  };
  const planes = [0, 1, 2].map(() => new Uint8Array(width * height));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const soft = Math.sin(x / 71 + seed) + Math.cos(y / 53) + Math.sin((x + y) / 31) / 2;
      const [green, red, blue] = [128 + 40 * soft + noise(4), 140 + 35 * soft + noise(4), 110 + 45 * soft + noise(4)].map(Math.round);
      const at = y * width + x;
      [planes[0][at], planes[1][at], planes[2][at]] = [green, red - green, blue - green];
    }
  }
  return planes;
}

function residuals(planes, stride, { x: left, y: top, width, height }) {
  const out = new Uint8Array(3 * width * height);
  planes.forEach((plane, i) => {
    const at = (x, y) => (x < 0 || y < 0 ? 0 : plane[(top + y) * stride + left + x]);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [a, b, c] = [at(x - 1, y), at(x, y - 1), at(x - 1, y - 1)];
        out[(i * height + y) * width + x] = at(x, y) - (a + b - Math.min(Math.max(c, Math.min(a, b)), Math.max(a, b)));
      }
    }
  });
  return out;
}
