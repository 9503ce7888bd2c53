// The picture follows the window, and text travels both ways.

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { expect, register, startGimp, test } from '../story.ts';

test('the screen follows the browser window', async ({ page }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  await expect.poll(() => gimp.size()).toEqual({ width: 1280, height: 800 });
  for (const size of [
    { width: 1001, height: 701 },
    { width: 1600, height: 900 },
  ]) {
    await page.setViewportSize(size);
    await expect.poll(() => gimp.size()).toEqual(size);
    await gimp.atRest();
    // GIMP fills it: its widgets reach the lower right corner.
    const corner = await gimp.pixel({ x: size.width - 8, y: size.height - 8 });
    expect(corner, 'not the black of an empty screen').not.toEqual([0, 0, 0]);
  }
});

test('text is pasted by hand where the browser does not let pages read the clipboard', async ({ page, platform, context }) => {
  const user = await register(page, 'ada@example.org');
  await context.grantPermissions(['clipboard-write'], { origin: platform.url });
  const gimp = await startGimp(page);
  await page.evaluate(() => navigator.clipboard.writeText('by-hand.png'));
  await gimp.newImage();

  await gimp.exportAsPasted(() => existsSync(join(platform.workspace(user), 'by-hand.png')));

  // With Shift GIMP pastes an image as a new one: the picture copied here shows a second time.
  await gimp.press('Control+a', 'Control+c');
  await gimp.showing('the new image', () => gimp.press('Control+Shift+V'));
});

test('text is pasted into GIMP and copied out of it', async ({ page, platform, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: platform.url });
  const user = await register(page, 'ada@example.org');
  await page.evaluate(() => navigator.clipboard.writeText('from-outside.png'));
  const gimp = await startGimp(page);
  await gimp.newImage();

  await gimp.exportAsPasted(() => existsSync(join(platform.workspace(user), 'from-outside.png')));

  await gimp.fileDialog('Control+Shift+E', () => gimp.type('from-gimp.png'));
  await gimp.press('Control+a', 'Control+c');
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe('from-gimp.png');
});
