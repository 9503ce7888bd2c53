// How far the colours shown while the screen moves are from those drawn: patches under moving noise of one level, which go
// as video. The noise has no mean, so the mean over a patch's inside, and over many pictures, is its colour.

import { pause } from './lib/platform.mjs';
import { table } from './lib/results.mjs';
import { listenToUpdates } from './lib/sent-as.mjs';
import { installPeek } from './lib/stage.mjs';
import { compareWays } from './lib/ways.mjs';

// As in crates/agent/examples/scene.rs: colours, four in a row, every 300x220 pixels from (40, 40) on, of 260x180.
const COLOURS = {
  red: 0xff0000, green: 0x00ff00, blue: 0x0000ff, yellow: 0xffff00,
  cyan: 0x00ffff, magenta: 0xff00ff, skin: 0xe0ac69, 'dark skin': 0x8d5524,
  grey: 0x808080, 'dark grey': 0x202020, 'light grey': 0xf0f0f0, steel: 0x356a9b,
};
const INSIDE = { x: 40 + 60, y: 40 + 40, width: 140, height: 100 };

/** Milliseconds before a sample in which its patches must have come as video, and not otherwise. */
const BEFORE = 500;

const samples = Number(process.env.BENCH_SAMPLES ?? 40);
if (!(samples >= 1)) throw new Error('BENCH_SAMPLES is to be 1 or more');

const results = await compareWays({
  name: 'colours',
  // VNC has no video.
  usualTransports: 'websocket,webrtc',
  bytes: true,
  prepare: ({ page }) => listenToUpdates(page),
  measure,
  print,
});
if (results.length === 0 || results.some(({ patches }) => !patches)) process.exitCode = 1;

async function* measure(stage, transport) {
  if (!(await stage.show(transport))) return;
  const scene = await stage.play('chart-moving');
  await installPeek(stage.page);
  await pause(2000);
  const sums = Object.keys(COLOURS).map(() => ({ mean: [0, 0, 0], off: 0 }));
  let taken = 0;
  // By how they came instead. A scene that was kept from drawing for a while is made exact by tiles, for one.
  const refused = {};
  const spent = await stage.cost(async () => {
    for (let seen = 0; taken < samples && seen < samples * 3; seen++) {
      const { patches, as } = await stage.page.evaluate(look, [Object.values(COLOURS), INSIDE, BEFORE]);
      if (as === 'video') {
        taken++;
        patches.forEach(({ mean, off }, patch) => {
          mean.forEach((value, channel) => (sums[patch].mean[channel] += value));
          sums[patch].off += off;
        });
      } else refused[as] = (refused[as] ?? 0) + 1;
      await pause(100 + Math.random() * 50);
    }
  });
  await scene.end();
  const row = { samples: taken, refused, mbit: (spent.bytes * 8) / 1e6 / spent.seconds };
  if (taken < samples) yield row;
  else yield { ...row, patches: Object.entries(COLOURS).map(([name, colour], i) => errorsOf(name, colour, sums[i])) };
}

function errorsOf(name, colour, { mean, off }) {
  const errors = channels(colour).map((wanted, channel) => mean[channel] / samples - wanted);
  return { name, errors, mean: errors.reduce((sum, error) => sum + Math.abs(error), 0) / 3, worst: Math.max(...errors.map(Math.abs)), pixel: off / samples };
}

function print(results) {
  const video = results.filter(({ patches }) => patches);
  if (video.length > 0) {
    console.log('Levels that the mean colour is off, mean of the channels / worst channel; then of single pixels, to which what video keeps of the noise adds up to 0.7.\n');
    table(
      ['patch', ...video.map(({ transport, mbit }) => `${transport}, ${mbit.toFixed(1)} Mbit/s`)],
      Object.keys(COLOURS).map((name, i) => [name, ...video.map(({ patches }) => `${patches[i].mean.toFixed(2)} / ${patches[i].worst.toFixed(2)}; ${patches[i].pixel.toFixed(2)}`)]),
    );
  }
  for (const { transport, samples: taken, refused, patches } of results) {
    const others = Object.entries(refused).map(([as, count]) => `${count} came as ${as}`);
    if (!patches) console.log(`\nNothing is said of ${transport}: only ${taken} of ${samples} samples came as video; ${others.join(', ')}.`);
    else if (others.length > 0) console.log(`\nOf ${transport} were left out: ${others.join(', ')}.`);
  }
  if (results.length === 0) console.log('No transport had a picture: nothing was measured.');
}

/** As the scene draws them: the noise needs room below and above. */
function channels(colour) {
  return [16, 8, 0].map((shift) => Math.min(254, Math.max(1, (colour >> shift) & 255)));
}

/** In the page: mean and mean distance of the patches now, and how they came: as `video`, or all that was not. */
function look([colours, { x, y, width, height }, before]) {
  const came = new Set();
  const patches = colours.map((colour, at) => {
    const place = { x: x + (at % 4) * 300, y: y + Math.floor(at / 4) * 220, width, height };
    const as = Object.keys(window.sentAs(place, before));
    for (const kind of as.length ? as : ['nothing new']) came.add(kind);
    const wanted = [16, 8, 0].map((shift) => Math.min(254, Math.max(1, (colour >> shift) & 255)));
    const data = window.peek(place.x, place.y, width, height);
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
  return { patches, as: [...came].sort().join(' and ') };
}
