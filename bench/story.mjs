// A photograph worked on in GIMP by real events of the browser: what it costs to see it, how soon the tool box answers
// meanwhile, and whether the picture ends exact. A new session for each transport.

import { shareNow } from './lib/exact.mjs';
import { bringPhoto, hoverToPixel, openPhoto, story } from './lib/gimp.mjs';
import { countedBytes } from './lib/own-network.mjs';
import { until } from './lib/platform.mjs';
import { p, table, two } from './lib/results.mjs';
import { compareWays } from './lib/ways.mjs';

const hovers = Number(process.env.BENCH_HOVERS ?? 8);

await compareWays({ name: 'story', bytes: true, alone: true, prepare: bringPhoto, measure, print });

async function* measure(stage, transport) {
  if (!(await stage.show(transport))) return;
  const steps = { open: await stage.cost(() => openPhoto(stage)) };
  const latencies = [];
  for (const [name, act] of Object.entries(story(stage))) {
    steps[name] = await stage.cost(async () => {
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
  yield { steps, all, hover: p(latencies), share, exactMs };
}

function print(results) {
  const steps = Object.keys(results[0]?.steps ?? {});
  const of = (spent) => `${(spent.bytes / 1e6).toFixed(1)} MB, ${['agent', 'display', 'browser'].map((who) => spent.cpu[who].toFixed(1)).join(' + ')}`;
  console.log(`Bytes ${countedBytes()}; seconds of processor of agent + X server + browser.\n`);
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
}
