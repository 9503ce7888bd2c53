// What a benchmark found: a table to read, the same as JSON to compare with.

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { quantile, root } from './platform.mjs';

/** Prints Markdown. */
export function table(heads, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  console.log([line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n'));
}

/** Times from keys to pixels: `results` have them by the name of the scene. */
export function keysTable(scenes, results) {
  const heads = { half: 'small beside motion', 'half-blend': 'small beside blend' };
  table(
    ['screen', 'way', ...scenes.map((scene) => heads[scene] ?? `${scene} p50 / p95 ms`)],
    results.map((row) => [screen(row), row.transport, ...scenes.map((scene) => two(row[scene]))]),
  );
}

/** Of a row, as BENCH_SIZES names it. */
export const screen = ({ size: { width, height } }) => `${width}x${height}`;

/** Writes BENCH_JSON, else target/bench/NAME.json. */
export async function keep(name, results) {
  const file = process.env.BENCH_JSON ?? path.join(root, 'target/bench', `${name}.json`);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify({ benchmark: name, at: new Date().toISOString(), results }, null, 1)}\n`);
}

/** Tells a row as soon as it is there: a run takes minutes. */
export function tell(row) {
  console.error(JSON.stringify(row));
}

export function p(values) {
  return { count: values.length, p50: quantile(values, 0.5), p95: quantile(values, 0.95) };
}

/** "p50 / p95". */
export const two = (of, digits = 1) => (of?.count ? `${of.p50.toFixed(digits)} / ${of.p95.toFixed(digits)}` : '-');

/** A list from the environment. */
export const list = (name, otherwise) => (process.env[name] ?? otherwise).split(',').filter(Boolean);

export const sizes = (otherwise) =>
  list('BENCH_SIZES', otherwise).map((size) => {
    const [width, height] = size.split('x').map(Number);
    return { width, height };
  });

/** What the page knows is tried: one that this build does not offer is left out, see `show` of a stage. */
export const transports = (usual = 'websocket,webrtc,vnc') => list('BENCH_TRANSPORTS', usual);
