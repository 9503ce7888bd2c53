// How soon what a browser shows is the X server's screen, pixel by pixel: after motion that is held, and after a key that
// changes a patch or all of it. The page's canvas is compared with a screenshot. What the page itself says is told beside it.

import { untilExact, together } from './lib/exact.mjs';
import { pause } from './lib/platform.mjs';
import { list, screen, table } from './lib/results.mjs';
import { compareWays } from './lib/ways.mjs';

const runs = Number(process.env.BENCH_RUNS ?? 5);
const seconds = Number(process.env.BENCH_SECONDS ?? 6);
const scenes = list('BENCH_SCENES', 'motion,half,full,small');

await compareWays({ name: 'exactness', measure, print });

async function* measure(stage, transport) {
  for (const mode of scenes) {
    if (!(await stage.show(transport))) continue;
    const scene = await stage.play(mode);
    const found = [];
    for (let run = 0; run < runs; run++) {
      await pause(1500 + Math.random() * 500);
      found.push(await untilExact(stage, seconds, () => finish(mode, scene, stage)));
      scene.resume();
    }
    await scene.end();
    yield { mode, ...together(found) };
  }
}

function print(results) {
  const ms = (value) => value?.toFixed(0) ?? 'never';
  const moments = results[0]?.shares.map(({ ms }) => ms) ?? [];
  table(
    ['screen', 'way', 'after', 'exact after, median ms', 'worst', 'by the page', ...moments.map((ms) => `% after ${ms} ms`)],
    results.map(({ size, transport, mode, exact, runs, shares, ...times }) => [
      screen({ size }),
      transport,
      mode,
      times.ms === null ? `${exact} of ${runs}` : ms(times.ms),
      ms(times.worstMs),
      // After a key the page was exact, and does not know of the change until it comes.
      keyed(mode) ? '-' : ms(times.claimedMs),
      ...shares.map(({ share }) => (share === null ? '-' : share === 1 ? '100' : Math.min(99.9, share * 100).toFixed(1))),
    ]),
  );
}

function keyed(mode) {
  return mode === 'small' || mode === 'full';
}

/** The clock's time when the screen changed the last time. */
async function finish(mode, scene, { page }) {
  if (keyed(mode)) {
    const pressed = Date.now();
    await page.keyboard.press('a');
    return pressed;
  }
  scene.hold();
  return Date.now();
}
