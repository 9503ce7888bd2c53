// The story the platform exists for: sign up, paint in GIMP, come back another day.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { Gimp, isColour, white } from '../gimp.ts';
import { until } from '../platform.ts';
import { endSession, expect, extentOf, fileNamed, pixelOf, readPng, register, startGimp, test } from '../story.ts';

test('sign up, paint, save, end, and find everything again', async ({ page, platform }) => {
  const user = await register(page, 'ada@example.org');
  const workspace = platform.workspace(user);

  // The steps of the start as they happen.
  const steps = page.getByTestId('start-progress');
  const seen = new Set<string>();
  await page.getByRole('button', { name: 'Start GIMP' }).click();
  await expect(steps).toBeVisible();
  await until('GIMP is on the page', async () => {
    const step = await steps.getAttribute('data-step', { timeout: 200 }).catch(() => null);
    if (step) seen.add(step);
    return /\/session\//.test(page.url());
  }, 60);
  expect(seen).toContain('startingGimp');

  let gimp = new Gimp(page);
  await gimp.painted();
  await gimp.newImage();
  await gimp.paint();
  const file = join(workspace, 'stroke.png');
  await gimp.exportAs('stroke.png', () => existsSync(file));
  const image = await until('the file is whole', () => {
    try {
      return readPng(file);
    } catch {
      return null;
    }
  });
  // One stroke from left to right on white paper, as thick as GIMP's brush.
  const stroke = extentOf(image, [0, 0, 0]);
  expect(stroke.width).toBeGreaterThan(240);
  expect(stroke.height).toBeGreaterThan(40);
  expect(stroke.height).toBeLessThan(60);
  expect(pixelOf(image, { x: 5, y: 5 })).toEqual([255, 255, 255]);

  // The file panel beside GIMP shows it.
  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: 'Files', exact: true }).click();
  await expect(fileNamed(page, 'stroke.png')).toBeVisible();
  await page.keyboard.press('Escape');

  // A tool option: a brush 60 pixels larger.
  await gimp.canvas.focus();
  await gimp.press('p', ...Array<string>(6).fill('Shift+BracketRight'));
  await gimp.saveAs('stroke.xcf', () => existsSync(join(workspace, 'stroke.xcf')));

  await endSession(page);
  await expect(page.getByRole('heading', { name: 'You ended the session' })).toBeVisible();
  await page.getByRole('link', { name: 'To the dashboard' }).click();
  await expect(page.getByTestId('history')).toContainText('You ended the session');
  await expect(fileNamed(page, 'stroke.png')).toBeVisible();
  await expect(fileNamed(page, 'stroke.xcf')).toBeVisible();

  // Another day, after the server was upgraded, say.
  await platform.end('SIGTERM');
  await platform.launch();
  await page.reload();
  gimp = await startGimp(page);
  await gimp.newImage();
  await gimp.press('p');
  const centre = await gimp.middle();
  await gimp.click(centre);
  await gimp.move({ x: centre.x, y: centre.y + 200 });
  await until('the dot shows', async () => !isColour(await gimp.pixel(centre), white));
  await gimp.atRest();
  const dot = await gimp.page.evaluate(
    ({ x, y }) => {
      const canvas = document.querySelector<HTMLCanvasElement>('[data-testid=session-canvas] canvas')!;
      const row = canvas.getContext('2d')!.getImageData(0, y, canvas.width, 1).data;
      const dark = (at: number) => row[at * 4]! < 200;
      let width = 0;
      for (let at = x; dark(at); at--) width++;
      for (let at = x + 1; dark(at); at++) width++;
      return width;
    },
    centre,
  );
  // GIMP's own brush is 51 pixels wide, ours 111; the picture is shown at about half its size.
  expect(dot, 'the brush is as large as it was left').toBeGreaterThan(35);
  await expect(async () => {
    await page.mouse.move(640, 2);
    await page.getByRole('button', { name: 'Files', exact: true }).click({ timeout: 1000 });
  }).toPass();
  await expect(fileNamed(page, 'stroke.png')).toBeVisible();
});
