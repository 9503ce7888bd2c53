// Images on their way into GIMP and out of it: dropped, pasted, saved to the device, saved or discarded at the end.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from '@playwright/test';
import { PNG } from 'pngjs';

import { black, type Colour, Gimp, isColour } from '../gimp.ts';
import { type Platform, until } from '../platform.ts';
import { expect, extentOf, pixelOf, readPng, register, sessionId, startGimp, test } from '../story.ts';

function plainPng([red, green, blue]: Colour): Buffer {
  const image = new PNG({ width: 400, height: 300 });
  for (let at = 0; at < image.data.length; at += 4) image.data.set([red, green, blue, 255], at);
  return PNG.sync.write(image);
}

/** Drags files over the picture and lets them go. */
async function drop(page: Page, files: { name: string; bytes: Buffer }[], shiftKey: boolean): Promise<void> {
  const encoded = files.map(({ name, bytes }) => ({ name, base64: bytes.toString('base64') }));
  const dataTransfer = await page.evaluateHandle((list) => {
    const data = new DataTransfer();
    for (const { name, base64 } of list) data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
    return data;
  }, encoded);
  const stage = page.getByTestId('session-canvas');
  await stage.dispatchEvent('dragover', { dataTransfer, shiftKey });
  await expect(page.getByText(shiftKey ? 'Drop to add as layers' : 'Drop to open in GIMP')).toBeVisible();
  await stage.dispatchEvent('drop', { dataTransfer, shiftKey });
  await expect(page.getByText(/^Drop to/)).toHaveCount(0);
}

async function shows(gimp: Gimp, colour: Colour): Promise<void> {
  const middle = await gimp.middle();
  await until(`GIMP shows ${colour}`, async () => isColour(await gimp.pixel(middle), colour), 30);
}

async function toolbar(page: Page, button: string): Promise<void> {
  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: button, exact: true }).click();
}

async function documents(platform: Platform, page: Page): Promise<{ name: string; layers: number; dirty: boolean; file: string | null }[]> {
  const api = await platform.signIn('ada@example.org');
  return (await api.get(`/sessions/${sessionId(page)}/documents`)).documents;
}

test('what was painted is saved to the device, whole and small, and GIMP keeps it as it was', async ({ page, platform }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  await gimp.newImage();
  await gimp.paint();
  await expect(page.getByTestId('documents')).toHaveAttribute('data-state', 'unsaved', { timeout: 30_000 });

  await toolbar(page, 'Save to my device');
  const dialog = page.getByRole('dialog');
  await expect(dialog.getByLabel('Format')).toHaveValue('png');
  let [download] = await Promise.all([page.waitForEvent('download', { timeout: 60_000 }), dialog.getByRole('button', { name: 'Save', exact: true }).click()]);
  expect(download.suggestedFilename()).toBe('Untitled.png');
  const whole = readPng(await download.path());
  const [opened] = await documents(platform, page);
  expect(opened).toMatchObject({ dirty: true, layers: 1 });
  expect(isColour(pixelOf(whole, { x: 3, y: 3 }) as Colour, [255, 255, 255])).toBe(true);
  expect(extentOf(whole, black).width, 'the stroke is in it').toBeGreaterThan(100);

  await toolbar(page, 'Save to my device');
  await dialog.getByLabel('Size').selectOption('50 %');
  [download] = await Promise.all([page.waitForEvent('download', { timeout: 60_000 }), dialog.getByRole('button', { name: 'Save', exact: true }).click()]);
  const small = readPng(await download.path());
  expect([small.width, small.height]).toEqual([Math.round(whole.width / 2), Math.round(whole.height / 2)]);

  await toolbar(page, 'Save to my device');
  await dialog.getByLabel('Format').selectOption('JPEG');
  await expect(dialog.getByLabel(/Quality/)).toBeVisible();
  [download] = await Promise.all([page.waitForEvent('download', { timeout: 60_000 }), dialog.getByRole('button', { name: 'Save', exact: true }).click()]);
  expect(download.suggestedFilename()).toBe('Untitled.jpg');
  expect(readFileSync(await download.path()).subarray(0, 2).toString('hex')).toBe('ffd8');
});

test('files dropped on the picture open in GIMP, with Shift as layers; what GIMP cannot open is named', async ({ page, platform }) => {
  const user = await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const [magenta, green]: Colour[] = [[200, 30, 160], [20, 180, 60]];
  await drop(page, [{ name: 'magenta.png', bytes: plainPng(magenta!) }, { name: 'notes.txt', bytes: Buffer.from('words') }], false);
  await expect(page.getByText(/GIMP does not open files like notes\.txt\. GIMP opens XCF, PNG/)).toBeVisible();
  await shows(gimp, magenta!);
  expect(existsSync(join(platform.workspace(user), 'notes.txt')), 'it was not even uploaded').toBe(false);

  await drop(page, [{ name: 'green.png', bytes: plainPng(green!) }], true);
  await shows(gimp, green!);
  await until('both layers are told of', async () => (await documents(platform, page))[0]!.layers === 2);
  expect(await documents(platform, page)).toMatchObject([{ name: 'magenta', dirty: true, file: 'magenta.png' }]);

  // A name that is taken is no question.
  await drop(page, [{ name: 'magenta.png', bytes: plainPng([9, 9, 200]) }], false);
  await shows(gimp, [9, 9, 200]);
  expect(readdirSync(platform.workspace(user)).filter((name) => name.endsWith('.png')).sort()).toEqual(['green.png', 'magenta (2).png', 'magenta.png']);

  await page.getByRole('link', { name: 'Dashboard' }).focus();
  await page.getByRole('link', { name: 'Dashboard' }).click();
  await expect(page.getByRole('list', { name: 'Images open in GIMP' }).getByRole('listitem')).toHaveCount(2);
  await until('both have a small picture', () =>
    page.locator('ul[aria-label="Images open in GIMP"] img').evaluateAll((all) => all.length === 2 && all.every((one) => (one as HTMLImageElement).naturalWidth > 100)),
  );
});

test('a picture in the clipboard opens as a new image, once the person has said so', async ({ page, platform, context }) => {
  const user = await register(page, 'ada@example.org');
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: platform.url });
  await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': new Blob([bytes], { type: 'image/png' }) })]);
  }, plainPng([30, 90, 200]).toString('base64'));
  const gimp = await startGimp(page);
  await gimp.canvas.focus();
  await page.keyboard.press('Control+v');
  const offer = page.getByText("Open the picture from this computer's clipboard?");
  await expect(offer).toBeVisible();
  expect(readdirSync(platform.workspace(user)).filter((name) => name.startsWith('Pasted')), 'not before').toEqual([]);
  await page.getByRole('button', { name: 'Open', exact: true }).click();
  await expect(page.getByText(/^Pasted .* is opening\.$/)).toBeVisible({ timeout: 30_000 });
  // GIMP was to paste as well, and says that it has nothing; its message lies over the image.
  await gimp.canvas.focus();
  const middle = await gimp.middle();
  await until('GIMP shows the picture', async () => {
    await page.keyboard.press('Escape');
    return isColour(await gimp.pixel(middle), [30, 90, 200]);
  });
  expect(readdirSync(platform.workspace(user)).filter((name) => /^Pasted .*\.png$/.test(name))).toHaveLength(1);
});

test('at the end all is saved, or discarded, as one likes', async ({ page, platform }) => {
  test.setTimeout(240_000);
  const user = await register(page, 'ada@example.org');
  let gimp = await startGimp(page);
  await gimp.newImage();
  await gimp.paint();
  const images = page.getByTestId('documents');
  await expect(images).toHaveAttribute('data-state', 'unsaved', { timeout: 30_000 });
  await toolbar(page, 'End session');
  await page.getByRole('dialog').getByRole('button', { name: 'Save all, then end' }).click();
  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'ended', { timeout: 60_000 });
  const file = join(platform.workspace(user), 'Untitled.xcf');
  expect(readFileSync(file).subarray(0, 9).toString()).toBe('gimp xcf ');
  const api = await platform.signIn('ada@example.org');
  expect((await api.get('/workspace/recoveries')).recoveries, 'nothing was unsaved').toEqual([]);

  const first = sessionId(page);
  await page.getByRole('button', { name: 'Start again' }).click();
  await until('another session', () => sessionId(page) !== first);
  gimp = new Gimp(page);
  await gimp.painted();
  await gimp.newImage();
  await gimp.paint();
  await expect(images).toHaveAttribute('data-state', 'unsaved', { timeout: 30_000 });
  await toolbar(page, 'End session');
  await page.getByRole('dialog').getByRole('button', { name: 'Discard…' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Discard, then end' }).click();
  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'ended', { timeout: 60_000 });
  await until('no copy is kept', async () => (await api.get('/workspace/recoveries')).recoveries.length === 0);
  await expect(page.getByRole('heading', { name: /GIMP kept/ })).toHaveCount(0);
  expect(readdirSync(platform.workspace(user)).filter((name) => name.endsWith('.xcf'))).toEqual(['Untitled.xcf']);
});
