// What a file was after each save comes back as a file of its own.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { isColour, white } from '../gimp.ts';
import { until } from '../platform.ts';
import { endSession, expect, fileNamed, register, startGimp, test } from '../story.ts';

test('a save by name and one by Ctrl+S are two versions; the first is restored as a new file and opened', async ({ page, platform }) => {
  test.setTimeout(240_000);
  const user = await register(page, 'ada@example.org');
  const home = platform.workspace(user);
  const versions = () => {
    const folder = join(home, '.gimp-platform/history/versions');
    return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')).length : 0;
  };
  const gimp = await startGimp(page);
  await gimp.newImage();
  const file = join(home, 'cat.xcf');
  await gimp.saveAs('cat.xcf', () => existsSync(file));
  await until('the first save is a version', async () => versions() === 1, 30);
  const first = readFileSync(file);

  await gimp.paint();
  await gimp.press('Control+s');
  await until('Ctrl+S is a version', async () => versions() === 2, 30);
  expect(readFileSync(file).equals(first)).toBe(false);
  await endSession(page);

  // No session runs any more.
  await page.goto('/dashboard');
  await expect(fileNamed(page, 'cat.xcf')).toBeVisible();
  await page.getByRole('button', { name: 'Actions for cat.xcf' }).click();
  await page.getByRole('menuitem', { name: 'History' }).click();
  const dialog = page.getByRole('dialog', { name: 'History of cat.xcf' });
  const rows = dialog.getByRole('list', { name: 'Versions' }).getByRole('listitem');
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText('newest');
  const widths = () => dialog.getByRole('img').evaluateAll((all) => all.map((one) => (one as HTMLImageElement).naturalWidth));
  await until('the newest is shown', async () => (await widths()).some((width) => width > 200));

  // By keyboard: down to the first save, then to its button.
  await rows.first().getByRole('button').first().focus();
  await page.keyboard.press('ArrowDown');
  await expect(rows.last().getByRole('button', { pressed: true })).toBeFocused();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.getByText('Restored as cat (restored).xcf.')).toBeVisible();
  await expect(dialog).toHaveCount(0);
  expect(readFileSync(join(home, 'cat (restored).xcf')).equals(first)).toBe(true);
  await expect(fileNamed(page, 'cat (restored).xcf')).toBeVisible();

  await page.getByRole('region', { name: 'Messages' }).getByRole('button', { name: 'Open in GIMP' }).click();
  await expect(page).toHaveURL(/\/session\//, { timeout: 60_000 });
  await gimp.painted();
  const middle = await gimp.middle();
  await until('the image without the stroke is open', async () => isColour(await gimp.pixel(middle), white), 60);
});
