// The picture stream: exact once still, proven by the page, and VNC in its place where it does not get through.

import { expect, register, startGimp, test } from '../story.ts';

test('what was painted becomes exact, and the page proves it', async ({ page }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const canvas = page.getByTestId('session-canvas');
  await expect(canvas).toHaveAttribute('data-transport', 'websocket');
  await gimp.newImage();

  // A long stroke at speed, and while it is going on a menu over it.
  const { width, height } = await gimp.size();
  await page.mouse.move(width * 0.35, height * 0.4);
  await page.mouse.down();
  for (let step = 0; step < 120; step++) {
    await page.mouse.move(width * (0.35 + 0.25 * (step / 120)), height * (0.4 + 0.1 * Math.sin(step / 8)));
  }
  await page.mouse.up();
  await page.keyboard.press('Alt+f');
  await page.keyboard.press('Escape');

  await expect(canvas).toHaveAttribute('data-exact', 'true', { timeout: 10_000 });
  await page.keyboard.press('Control+Alt+Shift+H');
  await expect(page.getByTestId('hud-transport')).toContainText(/stream/i);
  await expect(page.getByTestId('hud-exact')).toBeVisible();
  // A pointer over GIMP's rulers moves marks on them: it rests before the proof.
  await page.getByTestId('hud-prove').click();
  await expect(page.getByTestId('hud-proof')).toContainText('Every pixel', { timeout: 10_000 });
});

test('where the stream does not get through, VNC takes over, and the stream again when it can', async ({ page }) => {
  // As a proxy does that knows nothing of the stream: its address leads nowhere.
  await page.addInitScript(() => {
    // Not a subclass: noVNC looks for the methods on the object's own prototype.
    window.WebSocket = new Proxy(WebSocket, {
      construct(target, [url, protocols]: [string | URL, string[]?]) {
        const blocked = sessionStorage.getItem('let-through') === null;
        return new target(blocked ? String(url).replace(/\/stream$/, '/nowhere') : url, protocols);
      },
    });
  });
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const canvas = page.getByTestId('session-canvas');
  await expect(canvas).toHaveAttribute('data-transport', 'vnc');
  await gimp.newImage();

  await page.evaluate(() => sessionStorage.setItem('let-through', 'yes'));
  await expect(canvas).toHaveAttribute('data-transport', 'websocket', { timeout: 60_000 });
  await expect(canvas).toHaveAttribute('data-exact', 'true', { timeout: 10_000 });
  await gimp.atRest();
  expect(await gimp.colours()).toBeGreaterThan(40);
});

test('the way can be pinned, and is kept', async ({ page }) => {
  await register(page, 'ada@example.org');
  await startGimp(page);
  const canvas = page.getByTestId('session-canvas');
  await page.mouse.move(400, 4);
  await page.getByRole('button', { name: 'Picture', exact: true }).click();
  await page.getByRole('menuitemradio', { name: /VNC/ }).click();
  await expect(canvas).toHaveAttribute('data-transport', 'vnc', { timeout: 20_000 });
  await page.reload();
  await expect(canvas).toHaveAttribute('data-transport', 'vnc', { timeout: 20_000 });
});
