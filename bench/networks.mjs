// The picture over lines that are slow, lossy, cut for a while or without UDP, between network namespaces. Needs root.

import { untilExact } from './lib/exact.mjs';
import { openLine, SERVER } from './lib/line.mjs';
import { enterOwnNetwork } from './lib/own-network.mjs';
import { pause } from './lib/platform.mjs';
import { list, p, table, two } from './lib/results.mjs';
import { installPeek, keyToPixel, patchAt, watchMotion } from './lib/stage.mjs';
import { compareWays, headless, useThenEnd } from './lib/ways.mjs';

const LINES = {
  free: {},
  slow: { roundTrip: 40, loss: 1, mbit: 5 },
  far: { roundTrip: 120 },
  narrow: { mbit: 2 },
  blackout: { roundTrip: 40, cut: 3 },
  'no-udp': { roundTrip: 40, udp: false },
};

if (!(await enterOwnNetwork())) {
  console.error('bench/run networks makes network namespaces: run it as root.');
  process.exit(1);
}
const keys = Number(process.env.BENCH_KEYS ?? 40);
const seconds = Number(process.env.BENCH_SECONDS ?? 15);

const line = await openLine();
await line.set({});
await useThenEnd(
  line,
  () => compareWays({ name: 'networks', usualSizes: '1280x720', address: SERVER, inBrowser, prepare, rounds: list('BENCH_LINES', Object.keys(LINES).join(',')), measure, print }),
  () => line.close(),
);

async function inBrowser(size, use, platform) {
  // Video and proofs are for secure contexts only; a public server has TLS.
  const args = [`--unsafely-treat-insecure-origin-as-secure=${platform.url}`];
  await headless(size, use, platform, { executablePath: line.browser, args });
}

async function prepare({ page }) {
  if (!(await page.evaluate(() => isSecureContext))) throw new Error('the browser takes the page for an insecure one');
}

async function* measure(stage, wished, name) {
  // Where UDP is blocked the page has to find another way, which it only looks for when none is pinned.
  const transport = LINES[name].udp === false && wished === 'webrtc' ? 'auto' : wished;
  await line.set(LINES[name]);
  // A way that a line is too much for is a result, too.
  const row = await over(stage, LINES[name], transport).catch(({ message }) => ({ failed: message }));
  await line.set({});
  if (row) yield { line: name, ...LINES[name], transport, ...row };
}

function print(results) {
  const seen = (ms) => (ms === null ? 'never' : `${(ms / 1000).toFixed(1)} s`);
  table(
    ['line', 'way', 'first picture', 'small p50 / p95 ms', 'motion fps', 'age p50 / p95 ms', 'freezes over 1 s', 'back after the cut', 'exact after motion'],
    results.map(({ line, roundTrip, loss, mbit, cut, udp, transport, failed, first, small, motion, recoveryMs, exact }) => [
      [line, roundTrip && `${roundTrip} ms`, loss && `${loss} % loss`, mbit && `${mbit} Mbit/s`, cut && `cut for ${cut} s`, udp === false && 'UDP blocked'].filter(Boolean).join(', '),
      ...(failed
        ? [transport, failed, '-', '-', '-', '-', '-', '-']
        : [
            transport === first.taken ? transport : `${transport}: ${first.taken}`,
            seen(first.ms),
            two(small, 0),
            motion.fps.toFixed(1),
            two(motion.age, 0),
            motion.freezes.length ? `${motion.freezes.length}, longest ${seen(Math.max(...motion.freezes))}` : '0',
            recoveryMs === undefined ? '-' : seen(recoveryMs),
            seen(exact.ms),
          ]),
    ]),
  );
}

async function over(stage, { cut }, transport) {
  const first = await stage.show(transport);
  if (!first) return null;
  let scene = await stage.play('small');
  await installPeek(stage.page);
  const small = p(await keyToPixel(stage.page, { ...patchAt(stage), count: keys }));
  await scene.end();

  scene = await stage.play('motion');
  await installPeek(stage.page);
  await pause(2000);
  const watched = watchMotion(stage.page, seconds);
  let mended = null;
  if (cut) {
    await pause(3000);
    await line.cut();
    await pause(cut * 1000);
    await line.mend();
    mended = Date.now();
  }
  const { fps, ages, pictures, freezes } = await watched;
  const row = { first, small, motion: { fps, age: p(ages), freezes } };
  // Back: a picture that was drawn after the line was.
  if (cut) row.recoveryMs = (pictures.find(([time, age]) => time - age >= mended)?.[0] ?? NaN) - mended;
  if (Number.isNaN(row.recoveryMs)) row.recoveryMs = null;
  row.exact = await untilExact(stage, 20, () => {
    scene.hold();
    return Date.now();
  });
  await scene.end();
  return row;
}
