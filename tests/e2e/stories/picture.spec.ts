// The picture of the README: a real session, painted in. `UPDATE_PICTURE=1 ./test e2e -- picture` renews the one in
// docs/images; without that it goes to the results.

import { spawnSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { isColour } from '../gimp.ts';
import { until } from '../platform.ts';
import { expect, fileNamed, register, startGimp, test } from '../story.ts';

test.use({ viewport: { width: 1440, height: 900 } });

/** A landscape at sunset, drawn by the browser. */
async function landscape(): Promise<string> {
  const canvas = new OffscreenCanvas(1200, 800);
  const draw = canvas.getContext('2d')!;
  const sky = draw.createLinearGradient(0, 0, 0, 560);
  for (const [at, colour] of [[0, '#26375f'], [0.45, '#8a5a83'], [0.75, '#e8946a'], [1, '#fbd28b']] as const) sky.addColorStop(at, colour);
  draw.fillStyle = sky;
  draw.fillRect(0, 0, 1200, 800);
  const sun = draw.createRadialGradient(820, 430, 20, 820, 430, 260);
  for (const [at, colour] of [[0, '#fff6d8ff'], [0.2, '#ffe9a8ff'], [0.22, '#ffdf9966'], [1, '#ffdf9900']] as const) sun.addColorStop(at, colour);
  draw.fillStyle = sun;
  draw.fillRect(0, 0, 1200, 800);
  const ridges = [['#7d4f72', 470, 60, 150, 0], ['#553d66', 540, 55, 210, 2], ['#33305a', 610, 50, 170, 4], ['#1c2445', 690, 40, 260, 1]] as const;
  for (const [colour, level, height, width, shift] of ridges) {
    draw.fillStyle = colour;
    draw.beginPath();
    draw.moveTo(0, 800);
    for (let x = 0; x <= 1200; x += 4) {
      draw.lineTo(x, level - height * Math.sin(x / width + shift) - (height / 3) * Math.sin(x / (width / 3) + shift * 2));
    }
    draw.lineTo(1200, 800);
    draw.fill();
  }
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer());
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

test('a picture of it', async ({ page }, info) => {
  await register(page, 'ada@example.org');
  const bytes = Buffer.from(await page.evaluate(landscape), 'base64');
  await page.getByLabel('Files to upload').setInputFiles({ name: 'evening.png', mimeType: 'image/png', buffer: bytes });
  await expect(fileNamed(page, 'evening.png')).toBeVisible();
  const gimp = await startGimp(page);
  await page.mouse.move(720, 2);
  await page.getByRole('button', { name: 'Files', exact: true }).click();
  await fileNamed(page, 'evening.png').click();
  await gimp.atRest();
  await gimp.canvas.focus();
  await gimp.showing('the image as large as fits', () => gimp.press('Control+Shift+J'));

  // Birds, in black.
  const middle = await gimp.middle();
  await gimp.press('p', ...Array<string>(4).fill('Shift+BracketLeft'));
  const wing = async (x: number, y: number, size: number) => {
    await gimp.stroke({ x: x - size, y: y - size / 2 }, { x, y });
    await gimp.stroke({ x, y }, { x: x + size, y: y - size / 2 });
  };
  for (const [x, y, size] of [[-150, -150, 26], [-90, -175, 20], [-40, -130, 16]] as const) {
    await wing(middle.x + x, middle.y + y, size);
  }
  await until('the birds are there', async () => {
    const found = await gimp.pixel({ x: middle.x - 150, y: middle.y - 150 });
    return isColour(found, [0, 0, 0]) || found.every((value) => value < 80);
  });
  await page.mouse.move(720, 2);
  await expect(page.getByRole('toolbar', { name: 'Session' })).toBeVisible();
  await gimp.atRest();

  const file = info.outputPath('session.png');
  await page.screenshot({ path: file, animations: 'disabled' });
  expect(statSync(file).size).toBeGreaterThan(50_000);
  if (process.env['UPDATE_PICTURE']) {
    const images = join(import.meta.dirname, '../../../docs/images');
    mkdirSync(images, { recursive: true });
    const made = spawnSync('convert', [file, '-dither', 'FloydSteinberg', '-colors', '255', '-strip', `png8:${join(images, 'session.png')}`]);
    expect(made.status, `${made.stderr}`).toBe(0);
    expect(statSync(join(images, 'session.png')).size).toBeLessThan(300_000);
  }
});
