// The picture stream in Firefox as Debian ships it. Playwright drives a Firefox that it did not build by WebDriver BiDi.

import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';

import { PNG } from 'pngjs';

import type { Gimp } from '../gimp.ts';
import { until } from '../platform.ts';
import { countPlainSockets, expect, fileNamed, plainSockets, register, startGimp, test as story } from '../story.ts';

/** Firefox's WebRTC does not go to a loopback address: one that the machine has beside it, if any. */
const outward = Object.values(networkInterfaces())
  .flat()
  .find((address) => address?.family === 'IPv4' && !address.internal)?.address;

interface Fixtures {
  /** As in `about:config`. */
  preferences: Record<string, string | number | boolean>;
}

const test = story.extend<Fixtures>({
  preferences: [{}, { option: true }],
  settings: outward ? { udp_listen: `${outward}:0`, public_addresses: outward } : {},

  context: async ({ playwright, baseURL, viewport, preferences }, use) => {
    const firefox = await playwright.firefox.launch({
      channel: 'moz-firefox',
      executablePath: process.env['FIREFOX'] ?? '/usr/bin/firefox-esr',
      args: [],
      firefoxUserPrefs: preferences,
    });
    await use(await firefox.newContext({ baseURL: baseURL!, viewport }));
    await firefox.close();
  },
});

/** Stripes in all colours, so rough that lossless tiles of them are large. */
function stripes(): Buffer {
  const image = new PNG({ width: 1200, height: 1000 });
  for (let at = 0; at < image.width * image.height; at++) {
    const [x, y] = [at % image.width, Math.floor(at / image.width)];
    const roughness = Math.imul(at ^ (at >> 7), 0x9e3779b1) >>> 27;
    for (let channel = 0; channel < 3; channel++) {
      image.data[at * 4 + channel] = 110 + 90 * Math.sin((x * (channel + 1) + y) / 37) + roughness;
    }
    image.data[at * 4 + 3] = 255;
  }
  return PNG.sync.write(image);
}

/** Uploads an image and opens it by a click, each of its pixels as large as one of the screen. */
async function openStripes(gimp: Gimp): Promise<void> {
  const { page } = gimp;
  const before = await gimp.colours();
  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: 'Files', exact: true }).click();
  await page.getByLabel('Files to upload').setInputFiles({ name: 'stripes.png', mimeType: 'image/png', buffer: stripes() });
  await fileNamed(page, 'stripes.png').click();
  await until('the stripes show', async () => (await gimp.colours()) > before + 1000, 60);
  await gimp.canvas.focus();
  await gimp.showing('the larger stripes', () => gimp.press('1'));
}

/** Moves the image about with the middle button. */
async function pan(gimp: Gimp): Promise<void> {
  const { mouse } = gimp.page;
  const { x, y } = await gimp.middle();
  await mouse.move(x, y);
  await mouse.down({ button: 'middle' });
  for (let step = 0; step < 30; step++) await mouse.move(x + 100 * Math.sin(step / 5), y + 60 * Math.sin(step / 4));
  await mouse.up({ button: 'middle' });
}

/** Milliseconds that the agent last took to encode video; 0 if it never did. */
async function videoTime(gimp: Gimp): Promise<number> {
  const text = await gimp.page.getByTestId('hud-encode').innerText();
  return Number(/\/ ([\d.]+) ms/.exec(text)?.[1] ?? Number.NaN);
}

/** The page says that its picture is GIMP's, and proves it. */
async function expectProof(gimp: Gimp): Promise<void> {
  const { page } = gimp;
  // A pointer over GIMP's rulers moves marks on them: over the figures it rests.
  await page.getByTestId('hud-prove').hover();
  await expect(page.getByTestId('session-canvas')).toHaveAttribute('data-exact', 'true');
  await page.getByTestId('hud-prove').click();
  await expect(page.getByTestId('hud-proof')).toContainText('Every pixel');
  await gimp.canvas.focus();
}

test('what was painted and what moved becomes exact, and text is pasted', async ({ page, platform }) => {
  await countPlainSockets(page);
  const user = await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  // Since Firefox 145 a worker has the stream's WebSocket; earlier ones cannot wait for memory that they share with it.
  const waits = await page.evaluate(() => 'waitAsync' in Atomics);
  expect(await plainSockets(page)).toBe(waits ? 0 : 1);
  await expect(page.getByTestId('session-canvas')).toHaveAttribute('data-transport', outward ? 'webrtc' : 'websocket');
  await gimp.newImage();
  await gimp.paint();
  await gimp.press('Control+Alt+Shift+H');
  await expectProof(gimp);

  await openStripes(gimp);
  await until('video is seen', async () => {
    await pan(gimp);
    return (await videoTime(gimp)) > 0;
  }, 60);
  await expectProof(gimp);

  // Firefox tells of a paste where text of the page is selected, not where the focus is.
  await page.evaluate(() => navigator.clipboard.writeText('pasted.png'));
  await page.getByTestId('hud-proof').dblclick();
  await gimp.canvas.focus();
  await gimp.exportAsPasted(() => existsSync(join(platform.workspace(user), 'pasted.png')));
});

test.describe('without WebCodecs and shared memory', () => {
  test.use({ preferences: { 'dom.media.webcodecs.enabled': false } });

  test('the picture stream does without video, and what was painted and what moved becomes exact', async ({ page }) => {
    await countPlainSockets(page);
    await page.addInitScript(() => Object.assign(Atomics, { waitAsync: undefined }));
    await register(page, 'ada@example.org');
    expect(await page.evaluate(() => typeof VideoDecoder)).toBe('undefined');
    const gimp = await startGimp(page);
    await expect(page.getByTestId('session-canvas')).toHaveAttribute('data-transport', outward ? 'webrtc' : 'websocket');
    await gimp.newImage();
    await gimp.paint();
    await gimp.press('Control+Alt+Shift+H');
    await openStripes(gimp);
    await gimp.showing('the moved stripes', () => pan(gimp));
    await expectProof(gimp);
    expect(await videoTime(gimp)).toBe(0);
    expect(await plainSockets(page)).toBe(1);
  });
});
