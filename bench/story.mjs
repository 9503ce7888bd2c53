// A photograph worked on in GIMP by real events of the browser: what it costs to see it, how soon the tool box answers
// meanwhile, and whether the picture ends exact. A new session for each transport.

import { shareNow } from './lib/exact.mjs';
import { bringPhoto, hoverToPixel, openPhoto, story } from './lib/gimp.mjs';
import { enterOwnNetwork } from './lib/own-network.mjs';
import { pause, startPlatform, until } from './lib/platform.mjs';
import { keep, p, sizes, table, tell, transports, two } from './lib/results.mjs';
import { launch, openStage } from './lib/stage.mjs';

const whole = await enterOwnNetwork();
const hovers = Number(process.env.BENCH_HOVERS ?? 8);
const results = [];

const platform = await startPlatform();
const browser = await launch();
try {
  for (const size of sizes('1920x1080')) {
    for (const transport of transports()) {
      const stage = await openStage(browser, platform, size);
      await bringPhoto(stage);
      if (await stage.show(transport)) {
        const row = { size, transport, ...(await live(stage)) };
        results.push(row);
        tell(row);
      }
      await stage.close();
    }
  }
} finally {
  await browser.close();
  await platform.stop();
}
const steps = Object.keys(results[0]?.steps ?? {});
const of = (spent) => `${(spent.bytes / 1e6).toFixed(1)} MB, ${['agent', 'display', 'browser'].map((who) => spent.cpu[who].toFixed(1)).join(' + ')}`;
console.log(`Bytes ${whole ? 'of the wire' : 'through the gateway'}; seconds of processor of agent + X server + browser.\n`);
table(
  ['way', ...steps, 'all', 'tool box answers, p50 / p95 ms', 'exact at the end'],
  results.map(({ transport, steps, all, hover, exactMs, share }) => [
    transport,
    ...Object.values(steps).map(of),
    of(all),
    two(hover),
    exactMs === null ? `${(Math.floor(share * 10_000) / 100).toFixed(2)} % of pixels` : 'yes',
  ]),
);
await keep('story', results);

async function live(stage) {
  const took = async (act) => {
    const [cpu, bytes, began] = [await stage.spent(), await stage.bytes(), performance.now()];
    await act();
    const [after, more] = [await stage.spent(), await stage.bytes()];
    return { seconds: (performance.now() - began) / 1000, bytes: more - bytes, cpu: Object.fromEntries(Object.keys(after).map((who) => [who, after[who] - cpu[who]])) };
  };
  const steps = { open: await took(() => openPhoto(stage)) };
  const latencies = [];
  for (const [name, act] of Object.entries(story(stage))) {
    steps[name] = await took(async () => {
      await act();
      // While what the step left is still being sent.
      latencies.push(...(await hoverToPixel(stage, hovers)));
    });
    if (process.env.BENCH_SHOTS) await stage.page.screenshot({ path: `${process.env.BENCH_SHOTS}/${name}.png` });
  }
  await stage.page.mouse.move(stage.width / 2, stage.height - 20);
  const began = performance.now();
  let share = 0;
  const exact = await until(async () => (share = await shareNow(stage)) === 1, 10_000, 200).catch(() => false);
  const exactMs = exact ? performance.now() - began : null;
  const all = {
    bytes: Object.values(steps).reduce((sum, { bytes }) => sum + bytes, 0),
    cpu: Object.fromEntries(['agent', 'display', 'browser'].map((who) => [who, Object.values(steps).reduce((sum, { cpu }) => sum + cpu[who], 0)])),
  };
  return { steps, all, hover: p(latencies), share, exactMs };
}
