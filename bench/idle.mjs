// What a GIMP costs that nobody touches while a browser shows it: bytes of the wire and processor time.

import { enterOwnNetwork } from './lib/own-network.mjs';
import { pause, startPlatform } from './lib/platform.mjs';
import { keep, sizes, table, tell, transports } from './lib/results.mjs';
import { bringPhoto, openPhoto } from './lib/gimp.mjs';
import { launch, openStage } from './lib/stage.mjs';

const whole = await enterOwnNetwork();
const seconds = Number(process.env.BENCH_IDLE_SECONDS ?? 60);
const results = [];

const platform = await startPlatform();
const browser = await launch();
try {
  const [size] = sizes('1920x1080');
  const stage = await openStage(browser, platform, size);
  await bringPhoto(stage);
  let opened = false;
  for (const transport of transports()) {
    if (!(await stage.show(transport))) continue;
    if (!opened) await openPhoto(stage);
    opened = true;
    // What video left is made exact first, and the page's own start is over.
    await pause(5000);
    const [before, bytes] = [await stage.spent(), await stage.bytes()];
    await pause(seconds * 1000);
    const [after, more] = [await stage.spent(), await stage.bytes()];
    const cpu = Object.fromEntries(Object.keys(after).map((who) => [who, after[who] - before[who]]));
    const row = { size, transport, seconds, bytes: more - bytes, cpu };
    results.push(row);
    tell(row);
  }
  await stage.close();
} finally {
  await browser.close();
  await platform.stop();
}
const who = ['agent', 'display', 'gimp', 'gateway', 'page', 'browser'];
table(
  ['way', `bytes ${whole ? 'of the wire' : 'through the gateway'} in ${seconds} s`, ...who.map((name) => `${name === 'browser' ? 'all of the browser' : name}, CPU ms`)],
  results.map(({ transport, bytes, cpu }) => [transport, bytes, ...who.map((name) => (cpu[name] * 1000).toFixed(0))]),
);
await keep('idle', results);
