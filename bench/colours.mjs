// How far the colours shown while the screen moves are from those drawn: patches under moving noise of one level, which go
// as video. The noise has no mean, so the mean over a patch's inside, and over many pictures, is its colour.

import { pause } from './lib/platform.mjs';
import { table } from './lib/results.mjs';
import { installPeek } from './lib/stage.mjs';
import { compareWays } from './lib/ways.mjs';

// As in crates/agent/examples/scene.rs: colours, four in a row, every 300x220 pixels from (40, 40) on, of 260x180.
const COLOURS = {
  red: 0xff0000, green: 0x00ff00, blue: 0x0000ff, yellow: 0xffff00,
  cyan: 0x00ffff, magenta: 0xff00ff, skin: 0xe0ac69, 'dark skin': 0x8d5524,
  grey: 0x808080, 'dark grey': 0x202020, 'light grey': 0xf0f0f0, steel: 0x356a9b,
};
const INSIDE = { x: 40 + 60, y: 40 + 40, width: 140, height: 100 };

const samples = Number(process.env.BENCH_SAMPLES ?? 40);

await compareWays({ name: 'colours', measure, print });

async function* measure(stage, transport) {
  if (!(await stage.show(transport))) return;
  const scene = await stage.play('chart-moving');
  await installPeek(stage.page);
  await pause(2000);
  const began = await stage.bytes();
  const from = performance.now();
  const sums = Object.keys(COLOURS).map(() => ({ mean: [0, 0, 0], off: 0 }));
  // A scene that was kept from drawing for a while has been made exact: that says nothing of video.
  let [taken, exact] = [0, 0];
  while (taken < samples && exact < samples) {
    const seen = await stage.page.evaluate(look, [Object.values(COLOURS), INSIDE]);
    if (seen.exact) exact++;
    else taken++;
    if (!seen.exact) seen.patches.forEach(({ mean, off }, patch) => {
      mean.forEach((value, channel) => (sums[patch].mean[channel] += value));
      sums[patch].off += off;
    });
    await pause(100 + Math.random() * 50);
  }
  const mbit = (((await stage.bytes()) - began) * 8) / 1000 / (performance.now() - from);
  await scene.end();
  const patches = Object.entries(COLOURS).map(([name, colour], i) => {
    const errors = channels(colour).map((wanted, channel) => sums[i].mean[channel] / taken - wanted);
    return { name, errors, mean: errors.reduce((sum, error) => sum + Math.abs(error), 0) / 3, worst: Math.max(...errors.map(Math.abs)), pixel: sums[i].off / taken };
  });
  yield { samples: taken, leftOut: exact, mbit, patches };
}

function print(results) {
  console.log('Levels that the mean colour is off, mean of the channels / worst channel; then of single pixels, of which 0.7 is the noise.\n');
  table(
    ['patch', ...results.map(({ transport, mbit }) => `${transport}, ${mbit.toFixed(1)} Mbit/s`)],
    Object.keys(COLOURS).map((name, i) => [name, ...results.map(({ patches }) => `${patches[i].mean.toFixed(2)} / ${patches[i].worst.toFixed(2)}; ${patches[i].pixel.toFixed(2)}`)]),
  );
}

/** As the scene draws them: the noise needs room below and above. */
function channels(colour) {
  return [16, 8, 0].map((shift) => Math.min(254, Math.max(1, (colour >> shift) & 255)));
}

/** In the page: mean and mean distance of the patches now, and whether the page says its picture is exact. */
function look([colours, { x, y, width, height }]) {
  const patches = colours.map((colour, at) => {
    const wanted = [16, 8, 0].map((shift) => Math.min(254, Math.max(1, (colour >> shift) & 255)));
    const data = window.peek(x + (at % 4) * 300, y + Math.floor(at / 4) * 220, width, height);
    const [mean, count] = [[0, 0, 0], width * height];
    let off = 0;
    for (let i = 0; i < data.length; i += 4) {
      for (let channel = 0; channel < 3; channel++) {
        mean[channel] += data[i + channel] / count;
        off += Math.abs(data[i + channel] - wanted[channel]) / count / 3;
      }
    }
    return { mean, off };
  });
  return { patches, exact: document.querySelector('[data-testid=session-canvas]').dataset.exact === 'true' };
}
