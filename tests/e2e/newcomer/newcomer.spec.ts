// What somebody does with a platform that was just started: `./test bare` starts one on a machine where nothing was
// installed. Only through the browser, at the address in PLATFORM_URL.

import { PNG } from 'pngjs';

import { expect, type Page, test } from '@playwright/test';

import { endSession, extentOf, fileNamed, register, startGimp } from '../story.ts';

const url = process.env['PLATFORM_URL'];
test.use({ baseURL: url });

/** A file of the workspace; null while it is not there or not whole. */
async function png(page: Page, path: string): Promise<PNG | null> {
  const answer = await page.request.get(`/api/v1/files/content?path=${path}`);
  if (!answer.ok()) return null;
  try {
    return PNG.sync.read(await answer.body());
  } catch {
    return null;
  }
}

test('sign up, paint, save, and come back', async ({ page }) => {
  expect(url, 'PLATFORM_URL').toBeTruthy();
  await register(page, 'ada@example.org');
  let gimp = await startGimp(page);
  await gimp.newImage();
  await gimp.paint();
  await gimp.exportAs('stroke.png', async () => (await png(page, 'stroke.png')) !== null);
  const stroke = extentOf((await png(page, 'stroke.png'))!, [0, 0, 0]);
  expect(stroke.width).toBeGreaterThan(240);
  await endSession(page);
  await page.getByRole('link', { name: 'To the dashboard' }).click();
  await expect(fileNamed(page, 'stroke.png')).toBeVisible();
  gimp = await startGimp(page);
  await endSession(page);
});
