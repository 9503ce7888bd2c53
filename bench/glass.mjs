// From a key to the changed pixel where a person looks: Chromium with a window on a display of its own, a key pressed there
// as a keyboard would, the time until that display changes. Neither end is in the page, so nothing is asked of it.

import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { startDisplay } from './lib/display.mjs';
import { binaries, pause, startPlatform } from './lib/platform.mjs';
import { keep, p, sizes, table, tell, transports, two } from './lib/results.mjs';
import { launchOn, openStage, patchAt, showFloor } from './lib/stage.mjs';

const keys = Number(process.env.BENCH_KEYS ?? 60);
const modes = ['small', 'full', 'half'];
const results = [];

const platform = await startPlatform();
try {
  for (const size of sizes('1920x1080,1280x720')) {
    const display = await startDisplay(size);
    const browser = await launchOn(display);
    try {
      const [page] = browser.pages();
      await showFloor(page, size);
      await pause(1000);
      report({ size, transport: 'floor', small: await look(display, page) });
      const stage = await openStage(browser, platform, size);
      for (const transport of transports('websocket,webrtc,webrtc-tcp,vnc')) {
        const row = { size, transport };
        for (const mode of modes) {
          if (!(await stage.show(transport))) break;
          const scene = await stage.play(mode);
          row[mode] = await look(display, page);
          await scene.end();
        }
        if (row.small) report(row);
      }
      await stage.close();
    } finally {
      await browser.close();
      await display.stop();
    }
  }
} finally {
  await platform.stop();
}
table(
  ['screen', 'way', 'small p50 / p95 ms', 'full p50 / p95', 'small beside motion'],
  results.map(({ size, transport, small, full, half }) => [`${size.width}x${size.height}`, transport, two(small), two(full), two(half)]),
);
await keep('glass', results);

async function look(display, page) {
  const shown = await page.evaluate(() => [innerWidth, innerHeight, screenX, screenY]);
  if (shown.join() !== [display.width, display.height, 0, 0].join()) throw new Error(`the page does not fill the display: ${shown}`);
  const { x, y } = patchAt(display);
  const { stdout } = await promisify(execFile)(path.join(binaries, 'examples/glass'), [x, y, keys].map(String), { env: { DISPLAY: display.name } });
  const { microseconds, missed } = JSON.parse(stdout);
  return { ...p(microseconds.map((us) => us / 1000)), missed };
}

function report(row) {
  results.push(row);
  tell(row);
}
