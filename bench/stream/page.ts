// The picture stream's client alone on a page, and a clock: from a key event to the first frame of the display whose
// picture shows it. See ../stream.mjs.

import { StreamTransport } from '../../web/src/core/stream/streamTransport';

declare global {
  interface Window {
    /** From the key event until its pixels were in a frame, milliseconds. */
    latencies: number[];
    /** Milliseconds from now until the middle of the picture is another one. */
    untilChanged(): Promise<number>;
  }
}

const place = new URLSearchParams(location.search).get('place') === 'worker' ? 'worker' : 'page';
const stage = document.querySelector<HTMLElement>('#stage')!;
const transport = new StreamTransport(stage, `ws://${location.host}/`, place);
const probe = document.createElement('canvas');
probe.width = probe.height = 1;
const context = probe.getContext('2d', { willReadFrequently: true })!;

function pixel(): number {
  const canvas = stage.querySelector('canvas')!;
  context.drawImage(canvas, 960, 540, 1, 1, 0, 0, 1, 1);
  return new Uint32Array(context.getImageData(0, 0, 1, 1).data.buffer)[0]!;
}

function changedSince(before: number): Promise<number> {
  return new Promise((resolve) => {
    const look = () => (pixel() === before ? requestAnimationFrame(look) : resolve(performance.now()));
    requestAnimationFrame(look);
  });
}

window.latencies = [];
window.untilChanged = async () => {
  const began = performance.now();
  return (await changedSince(pixel())) - began;
};
window.addEventListener(
  'keydown',
  async (event) => {
    const changed = await changedSince(pixel());
    window.latencies.push(changed - event.timeStamp);
  },
  { capture: true },
);
transport.connect((event) => {
  if (event !== 'open') return;
  transport.focus();
  document.body.dataset['open'] = 'true';
});
