// What a session feels like: input to pixel, motion, bytes and processor time, for each transport on the same X server,
// beside a page that draws by itself. By animation frames of the page; bench/glass.mjs looks at the display.

import { p, screen, table, two } from './lib/results.mjs';
import { floor, installPeek, keyToPixel, patchAt, watchMotion } from './lib/stage.mjs';
import { compareWays } from './lib/ways.mjs';

const keys = Number(process.env.BENCH_KEYS ?? 60);
const seconds = Number(process.env.BENCH_SECONDS ?? 10);

await compareWays({
  name: 'picture',
  usualSizes: '1920x1080,1280x720',
  usualTransports: 'websocket,webrtc,webrtc-tcp,vnc',
  bytes: true,
  async *floor(browser, size) {
    yield { small: p(await floor(browser, size, keys)) };
  },
  measure,
  print,
});

async function* measure(stage, transport) {
  const row = {};
  for (const mode of ['small', 'full', 'half', 'motion']) {
    if (!(await stage.show(transport))) break;
    const scene = await stage.play(mode);
    await installPeek(stage.page);
    row[mode] = mode === 'motion' ? await motion(stage) : p(await keyToPixel(stage.page, { ...patchAt(stage), count: keys }));
    await scene.end();
  }
  if (Object.keys(row).length > 0) yield row;
}

async function motion(stage) {
  let watched;
  const spent = await stage.cost(async () => (watched = await watchMotion(stage.page, seconds)));
  const { fps, ages, freezes } = watched;
  const { agent, display } = await stage.memory();
  return {
    fps,
    age: p(ages),
    freezes,
    mbit: (spent.bytes * 8) / 1e6 / spent.seconds,
    cpu: Object.fromEntries(['agent', 'display', 'gateway', 'browser'].map((who) => [who, spent.cpu[who] / spent.seconds])),
    pss: agent + display,
  };
}

function print(results) {
  table(
    ['screen', 'way', 'small p50 / p95 ms', 'full p50 / p95', 'small beside motion', 'motion fps', 'age p50 / p95 ms', 'Mbit/s', 'cores: agent, X, gateway, browser', 'MiB'],
    results.map(({ size, transport, small, full, half, motion }) => [
      screen({ size }),
      transport,
      two(small),
      two(full),
      two(half),
      ...(motion
        ? [motion.fps.toFixed(1), two(motion.age, 0), motion.mbit.toFixed(1), Object.values(motion.cpu).map((cpu) => cpu.toFixed(2)).join(', '), motion.pss.toFixed(0)]
        : ['-', '-', '-', '-', '-']),
    ]),
  );
}
