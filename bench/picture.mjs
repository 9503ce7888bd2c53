// What a session feels like: input to pixel, motion, bytes and processor time, for each transport on the same X server,
// beside a page that draws by itself. By animation frames of the page; bench/glass.mjs looks at the display.

import { startPlatform } from './lib/platform.mjs';
import { enterOwnNetwork } from './lib/own-network.mjs';
import { keep, p, sizes, table, tell, transports, two } from './lib/results.mjs';
import { floor, installPeek, keyToPixel, launch, openStage, patchAt, watchMotion } from './lib/stage.mjs';

await enterOwnNetwork();
const keys = Number(process.env.BENCH_KEYS ?? 60);
const seconds = Number(process.env.BENCH_SECONDS ?? 10);
const results = [];

const platform = await startPlatform();
const browser = await launch();
try {
  for (const size of sizes('1920x1080,1280x720')) {
    report({ size, transport: 'floor', small: p(await floor(browser, size, keys)) });
    const stage = await openStage(browser, platform, size);
    for (const transport of transports('websocket,webrtc,webrtc-tcp,vnc')) {
      const row = { size, transport };
      for (const mode of ['small', 'full', 'half']) {
        if (!(await stage.show(transport))) break;
        const scene = await stage.play(mode);
        await installPeek(stage.page);
        row[mode] = p(await keyToPixel(stage.page, { ...patchAt(size), count: keys }));
        await scene.end();
      }
      if (!(await stage.show(transport))) continue;
      const scene = await stage.play('motion');
      await installPeek(stage.page);
      const [before, bytes] = [await stage.spent(), await stage.bytes()];
      const { fps, ages, freezes } = await watchMotion(stage.page, seconds);
      const [after, more] = [await stage.spent(), await stage.bytes()];
      const { agent, display } = await stage.memory();
      row.motion = {
        fps,
        age: p(ages),
        freezes,
        mbit: ((more - bytes) * 8) / 1e6 / seconds,
        cpu: Object.fromEntries(['agent', 'display', 'gateway', 'browser'].map((who) => [who, (after[who] - before[who]) / seconds])),
        pss: agent + display,
      };
      await scene.end();
      report(row);
    }
    await stage.close();
  }
} finally {
  await browser.close();
  await platform.stop();
}
table(
  ['screen', 'way', 'small p50 / p95 ms', 'full p50 / p95', 'small beside motion', 'motion fps', 'age p50 / p95 ms', 'Mbit/s', 'cores: agent, X, gateway, browser', 'MiB'],
  results.map(({ size, transport, small, full, half, motion }) => [
    `${size.width}x${size.height}`,
    transport,
    two(small),
    two(full),
    two(half),
    ...(motion
      ? [motion.fps.toFixed(1), two(motion.age, 0), motion.mbit.toFixed(1), Object.values(motion.cpu).map((cpu) => cpu.toFixed(2)).join(', '), motion.pss.toFixed(0)]
      : ['-', '-', '-', '-', '-']),
  ]),
);
await keep('picture', results);

function report(row) {
  results.push(row);
  tell(row);
}
