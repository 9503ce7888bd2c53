// What a session feels like: input to pixel, motion, bytes and processor time, for each transport on the same X server,
// beside a page that draws by itself. Prints a table, and JSON with BENCH_JSON=FILE.

import { writeFile } from 'node:fs/promises';
import { floor, installPeek, keyToPixel, launch, openStage, watchMotion } from './lib/stage.mjs';
import { quantile, startPlatform } from './lib/platform.mjs';

const keys = Number(process.env.BENCH_KEYS ?? 60);
const seconds = Number(process.env.BENCH_SECONDS ?? 10);
const transports = (process.env.BENCH_TRANSPORTS ?? 'websocket,vnc').split(',');
const sizes = (process.env.BENCH_SIZES ?? '1920x1080,1280x720').split(',').map((size) => size.split('x').map(Number));
const results = [];

const platform = await startPlatform();
const browser = await launch();
try {
  for (const [width, height] of sizes) {
    const size = { width, height };
    report({ size, transport: 'floor', small: p(await floor(browser, size, keys)) });
    const stage = await openStage(browser, platform, size);
    for (const transport of transports) {
      await stage.show(transport);
      const row = { size, transport };
      for (const mode of ['small', 'full', 'half']) {
        const end = await stage.play(mode);
        await installPeek(stage.page);
        row[mode] = p(await keyToPixel(stage.page, { x: width - 200, y: 500, count: keys }));
        await end();
        await stage.show(transport);
      }
      const end = await stage.play('motion');
      await installPeek(stage.page);
      const [before, bytes] = [await stage.spent(), await stage.received()];
      const { fps, ages } = await watchMotion(stage.page, seconds);
      const [after, more] = [await stage.spent(), await stage.received()];
      row.motion = {
        fps,
        age: p(ages),
        mbit: ((more - bytes) * 8) / 1e6 / seconds,
        cpu: Object.fromEntries(['agent', 'display', 'gateway'].map((who) => [who, (after[who] - before[who]) / seconds])),
        pss: after.pss,
      };
      await end();
      report(row);
    }
    await stage.close();
  }
} finally {
  await browser.close();
  await platform.stop();
}
console.log('\n| screen | way | small p50 / p95 ms | full p50 / p95 | small beside motion | motion fps | age p50 / p95 ms | Mbit/s | cores: agent, X, gateway | MiB |');
console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
for (const { size, transport, small, full, half, motion } of results) {
  const two = (of) => (of ? `${of.p50.toFixed(1)} / ${of.p95.toFixed(1)}` : '-');
  const moving = motion
    ? `${motion.fps.toFixed(1)} | ${two(motion.age)} | ${motion.mbit.toFixed(1)} | ${Object.values(motion.cpu).map((cpu) => cpu.toFixed(2)).join(', ')} | ${motion.pss.toFixed(0)}`
    : '- | - | - | - | -';
  console.log(`| ${size.width}x${size.height} | ${transport} | ${two(small)} | ${two(full)} | ${two(half)} | ${moving} |`);
}
if (process.env.BENCH_JSON) await writeFile(process.env.BENCH_JSON, JSON.stringify(results, null, 2));

function report(row) {
  results.push(row);
  console.error(JSON.stringify(row));
}

function p(values) {
  return { count: values.length, p50: quantile(values, 0.5), p95: quantile(values, 0.95) };
}
