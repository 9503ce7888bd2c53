// From a key to the changed pixel where a person looks: Chromium with a window on a display of its own, a key pressed there
// as a keyboard would, the time until that display changes. Neither end is in the page, so nothing is asked of it.

import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { startDisplay } from './lib/display.mjs';
import { binaries, pause } from './lib/platform.mjs';
import { keysTable, list, p } from './lib/results.mjs';
import { launchOn, MOVING, patchAt, showFloor } from './lib/stage.mjs';
import { compareWays, useThenEnd } from './lib/ways.mjs';

const keys = Number(process.env.BENCH_KEYS ?? 60);
// One list may name scenes of bench/picture.mjs that no key changes.
const scenes = list('BENCH_SCENES', 'small,full,half,half-blend').filter((scene) => !MOVING.includes(scene));
let display;

await compareWays({
  name: 'glass',
  usualSizes: '1920x1080,1280x720',
  usualTransports: 'websocket,webrtc,webrtc-tcp,vnc',
  inBrowser: onDisplay,
  floor,
  measure,
  print: (results) => keysTable(scenes, results),
});

async function onDisplay(size, use) {
  display = await startDisplay(size);
  const inBrowser = async () => useThenEnd(await launchOn(display), use, (browser) => browser.close());
  await useThenEnd(display, inBrowser, () => display.stop());
}

async function* floor(browser, size) {
  const [page] = browser.pages();
  await showFloor(page, size);
  await pause(1000);
  yield { small: await look(page) };
}

async function* measure(stage, transport) {
  const row = {};
  for (const mode of scenes) {
    if (!(await stage.show(transport))) break;
    const scene = await stage.play(mode);
    row[mode] = await look(stage.page);
    await scene.end();
  }
  if (Object.keys(row).length > 0) yield row;
}

async function look(page) {
  const shown = await page.evaluate(() => [innerWidth, innerHeight, screenX, screenY]);
  if (shown.join() !== [display.width, display.height, 0, 0].join()) throw new Error(`the page does not fill the display: ${shown}`);
  const { x, y } = patchAt(display);
  const { stdout } = await promisify(execFile)(path.join(binaries, 'examples/glass'), [x, y, keys].map(String), { env: { DISPLAY: display.name } });
  const { microseconds, missed } = JSON.parse(stdout);
  return { ...p(microseconds.map((us) => us / 1000)), missed };
}
