// What a GIMP costs that nobody touches while a browser shows it: bytes of the wire and processor time.

import { countedBytes } from './lib/own-network.mjs';
import { pause } from './lib/platform.mjs';
import { table } from './lib/results.mjs';
import { bringPhoto, openPhoto } from './lib/gimp.mjs';
import { compareWays } from './lib/ways.mjs';

const seconds = Number(process.env.BENCH_IDLE_SECONDS ?? 60);

await compareWays({ name: 'idle', bytes: true, prepare, measure, print });

async function prepare(stage) {
  await bringPhoto(stage);
  await stage.show('auto');
  await openPhoto(stage);
}

async function* measure(stage, transport) {
  if (!(await stage.show(transport))) return;
  // What video left is made exact first, and the page's own start is over.
  await pause(5000);
  yield { seconds, ...(await stage.cost(() => pause(seconds * 1000))) };
}

function print(results) {
  const who = ['agent', 'display', 'gimp', 'gateway', 'page', 'browser'];
  table(
    ['way', `bytes ${countedBytes()} in ${seconds} s`, ...who.map((name) => `${name === 'browser' ? 'all of the browser' : name}, CPU ms`)],
    results.map(({ transport, bytes, cpu }) => [transport, bytes, ...who.map((name) => (cpu[name] * 1000).toFixed(0))]),
  );
}
