// Files between this computer, the workspace and GIMP.

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { PNG } from 'pngjs';

import { isColour } from '../gimp.ts';
import { until } from '../platform.ts';
import { expect, fileNamed, register, startGimp, test } from '../story.ts';

function plainPng(red: number, green: number, blue: number): Buffer {
  const image = new PNG({ width: 400, height: 300 });
  for (let at = 0; at < image.data.length; at += 4) image.data.set([red, green, blue, 255], at);
  return PNG.sync.write(image);
}

test('an image dropped on the files opens in the running GIMP with one click', async ({ page, platform }) => {
  const user = await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: 'Files', exact: true }).click();
  const panel = page.getByRole('region', { name: 'Files of your workspace' });
  await expect(panel.getByText('No files yet')).toBeVisible();

  const bytes = plainPng(200, 30, 160);
  const transfer = await page.evaluateHandle((base64) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], 'magenta.png', { type: 'image/png' }));
    return data;
  }, bytes.toString('base64'));
  await panel.dispatchEvent('dragenter', { dataTransfer: transfer });
  await expect(panel.getByText('Drop to upload')).toBeVisible();
  await panel.dispatchEvent('drop', { dataTransfer: transfer });
  await expect(fileNamed(page, 'magenta.png')).toBeVisible();
  const file = join(platform.workspace(user), 'magenta.png');
  expect(existsSync(file)).toBe(true);

  await fileNamed(page, 'magenta.png').click();
  const middle = await gimp.middle();
  await until('the image is open', async () => isColour(await gimp.pixel(middle), [200, 30, 160]), 30);
});

test.describe('with a quota of 1 GiB', () => {
  test.use({ settings: { quota_gb: 1 } });

  test('what does not fit is refused with words that help, and nothing is left of it', async ({ page, platform }, info) => {
    const user = await register(page, 'ada@example.org');
    await expect(page.getByTestId('quota')).toContainText('of 1 GB');
    const large = info.outputPath('large.png');
    writeFileSync(large, '');
    // All holes: it takes no room here.
    truncateSync(large, 1200 * 1024 * 1024);
    await page.getByLabel('Files to upload').setInputFiles(large);
    const uploads = page.getByRole('list', { name: 'Uploads' });
    await expect(uploads).toContainText(/storage|room|quota/i);
    await expect(fileNamed(page, 'large.png')).toHaveCount(0);
    expect(existsSync(join(platform.workspace(user), 'large.png'))).toBe(false);

    // What fits still goes.
    const small = info.outputPath('small.png');
    writeFileSync(small, plainPng(1, 2, 3));
    await page.getByLabel('Files to upload').setInputFiles(small);
    await expect(fileNamed(page, 'small.png')).toBeVisible();
  });

  test('GIMP meets the quota: the page says so, and when there is room again GIMP saves', async ({ page, platform }) => {
    const user = await register(page, 'ada@example.org');
    const gimp = await startGimp(page);
    await gimp.newImage();
    // As a plug-in would that writes and writes: to the last byte, or beyond the quota where it is only measured.
    const filler = join(platform.workspace(user), 'filler.bin');
    spawnSync('fallocate', ['--length', '960M', filler]);
    const end = openSync(filler, 'a');
    try {
      const chunk = Buffer.alloc(1 << 20);
      for (let written = 0; written < 128; written++) writeSync(end, chunk);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    } finally {
      closeSync(end);
    }

    await expect(page.getByRole('region', { name: 'Messages' })).toContainText('workspace is full', { timeout: 60_000 });

    rmSync(filler);
    const api = await platform.signIn('ada@example.org');
    await until('there is room', async () => !(await api.get('/workspace')).exceeded, 60);
    await gimp.saveAs('saved.xcf', () => existsSync(join(platform.workspace(user), 'saved.xcf')));
  });
});
