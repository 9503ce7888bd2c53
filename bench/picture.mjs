// What a session feels like: input to pixel, motion, bytes and processor time, for each transport on the same X server,
// beside a page that draws by itself. By animation frames of the page; bench/glass.mjs looks at the display.

import { keysTable, list, p, screen, table, two } from './lib/results.mjs';
import { floor, installPeek, keyToPixel, MOVING, patchAt, watchMotion } from './lib/stage.mjs';
import { compareWays } from './lib/ways.mjs';

const keys = Number(process.env.BENCH_KEYS ?? 60);
const seconds = Number(process.env.BENCH_SECONDS ?? 10);
const scenes = list('BENCH_SCENES', 'small,full,half,half-blend,motion,blend');
const moving = scenes.filter((scene) => MOVING.includes(scene));
const keyed = scenes.filter((scene) => !MOVING.includes(scene));

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
  for (const mode of scenes) {
    if (!(await stage.show(transport))) break;
    const scene = await stage.play(mode);
    await installPeek(stage.page);
    row[mode] = MOVING.includes(mode) ? await motion(stage) : p(await keyToPixel(stage.page, { ...patchAt(stage), count: keys }));
    await scene.end();
  }
  if (Object.keys(row).length > 0) yield row;
}

async function motion(stage) {
  let watched;
  const spent = await stage.cost(async () => (watched = await watchMotion(stage.page, seconds)));
  const { fps, ages, exact, freezes } = watched;
  const { agent, display } = await stage.memory();
  return {
    fps,
    age: p(ages),
    exact,
    freezes,
    mbit: (spent.bytes * 8) / 1e6 / spent.seconds,
    cpu: Object.fromEntries(['agent', 'display', 'gateway', 'browser'].map((who) => [who, spent.cpu[who] / spent.seconds])),
    pss: agent + display,
  };
}

function print(results) {
  keysTable(keyed, results);
  if (moving.length === 0) return;
  console.log();
  const cores = ({ cpu }) => Object.values(cpu).map((cores) => cores.toFixed(2));
  table(
    ['screen', 'way', 'scene', 'pictures a second', 'age p50 / p95 ms', 'exact, %', 'Mbit/s', 'cores: agent', 'X server', 'gateway', 'browser', 'MiB'],
    results
      .flatMap((row) => moving.filter((scene) => row[scene]).map((scene) => ({ ...row, scene, ...row[scene] })))
      .map(({ scene, transport, fps, age, exact, mbit, pss, ...row }) => [
        screen(row),
        transport,
        scene,
        fps.toFixed(1),
        two(age, 0),
        exact === null ? '-' : (exact * 100).toFixed(0),
        mbit.toFixed(1),
        ...cores(row),
        pss.toFixed(0),
      ]),
  );
}
