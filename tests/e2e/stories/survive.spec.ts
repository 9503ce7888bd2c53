// Everything may die at any moment: the page says so, offers the way back, and nothing that was kept is lost.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from '@playwright/test';

import { black, Gimp, isColour } from '../gimp.ts';
import { type Platform, until } from '../platform.ts';
import { expect, register, sessionId, startGimp, test } from '../story.ts';
import { Wire } from '../wire.ts';

async function anotherGimp(platform: Platform, session: string, before: number): Promise<void> {
  await until('another GIMP runs', () => {
    try {
      return platform.gimpOf(session) !== before;
    } catch {
      return false;
    }
  }, 30);
}

test('GIMP is killed: the page says so and GIMP is back', async ({ page, platform }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const session = sessionId(page);
  const before = platform.gimpOf(session);

  process.kill(before, 'SIGKILL');

  await expect(page.getByRole('region', { name: 'Messages' })).toContainText(/GIMP/, { timeout: 30_000 });
  await anotherGimp(platform, session, before);
  await gimp.painted();
  await gimp.newImage();
  const api = await platform.signIn('ada@example.org');
  const status = await api.get(`/sessions/${session}/status`);
  expect(status.status).toBe('running');
  expect(status.restarts).toHaveLength(1);
  expect(status.restarts[0].what).toBe('gimp');
  expect(status.restarts[0].cause).toContain('9');
});

test('GIMP is killed with unsaved work: the toolbar told of it, and the stroke comes back', async ({ page, platform }) => {
  test.setTimeout(180_000);
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const session = sessionId(page);
  const images = page.getByTestId('documents');
  await expect(images).toHaveAttribute('data-state', 'saved');
  await gimp.newImage();
  await gimp.paint();
  await expect(images).toHaveAttribute('data-state', 'unsaved', { timeout: 30_000 });
  const api = await platform.signIn('ada@example.org');
  await until('a copy is kept', async () => Boolean((await api.get(`/sessions/${session}`)).documents[0].lastCopied), 40);
  expect((await api.get('/workspace/recoveries')).recoveries, 'nothing to recover while it is open').toEqual([]);
  const before = platform.gimpOf(session);

  process.kill(before, 'SIGKILL');

  await page.getByRole('button', { name: 'Show copies' }).click({ timeout: 30_000 });
  await anotherGimp(platform, session, before);
  await gimp.painted();
  await page.getByRole('button', { name: 'Open in GIMP' }).click();
  const middle = await gimp.middle();
  await until('the stroke is back', async () => isColour(await gimp.pixel(middle), black), 30);
  await expect(images).toHaveAttribute('data-state', 'unsaved', { timeout: 30_000 });
  await expect(images).toHaveAttribute('aria-label', 'Images: Unsaved changes in 1 image');
});

test('the agent is killed: GIMP and the unsaved stroke stay, and the page finds them by itself', async ({ page, platform }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const session = sessionId(page);
  await gimp.newImage();
  await gimp.paint();
  const before = platform.gimpOf(session);
  const agents = platform.processesOf(session, /^gimp-session/);
  // Above it stands its guard, which starts the next.
  const agent = agents.find(({ parent }) => agents.some(({ pid }) => pid === parent))!;

  process.kill(agent.pid, 'SIGKILL');

  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'reconnecting');
  await gimp.painted();
  expect(platform.gimpOf(session), 'the same GIMP').toBe(before);
  expect(isColour(await gimp.pixel(await gimp.middle()), black), 'the stroke is still there').toBe(true);
  await gimp.showing('undo', () => gimp.press('Control+z'));
  const api = await platform.signIn('ada@example.org');
  expect(await api.get(`/sessions/${session}`)).toMatchObject({ status: 'running' });
});

test('the X server is killed: the page says so, and another GIMP comes up in the same session', async ({ page, platform }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const session = sessionId(page);
  const [server] = platform.processesOf(session, /^X(org|vnc)/);
  const before = platform.gimpOf(session);

  process.kill(server!.pid, 'SIGKILL');

  await expect(page.getByRole('region', { name: 'Messages' })).toContainText(/GIMP|display/, { timeout: 30_000 });
  await anotherGimp(platform, session, before);
  await gimp.painted();
  await gimp.newImage();
  const status = await (await platform.signIn('ada@example.org')).get(`/sessions/${session}/status`);
  expect(status.status).toBe('running');
  expect(status.restarts).toMatchObject([{ what: 'display' }]);
});

test('the whole sandbox is killed: the session ends as crashed, and a new one starts', async ({ page, platform }) => {
  await register(page, 'ada@example.org');
  await startGimp(page);
  const session = sessionId(page);
  const { pid } = JSON.parse(readFileSync(join(platform.data, 'run', session, 'sandbox.json'), 'utf8')).init;

  process.kill(pid, 'SIGKILL');

  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'ended', { timeout: 60_000 });
  await expect(page.getByRole('heading', { name: 'GIMP stopped working' })).toBeVisible();
  await page.getByRole('button', { name: 'Start again' }).click();
  await until('another session', () => sessionId(page) !== session);
  await new Gimp(page).painted();
});

test('the session ends with unsaved work: a copy is kept, offered, and opens with the stroke in it', async ({ page }) => {
  await register(page, 'ada@example.org');
  let gimp = await startGimp(page);
  await gimp.newImage();
  await gimp.paint();

  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: 'End session' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click();
  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'ended', { timeout: 60_000 });
  await expect(page.getByRole('heading', { name: /GIMP kept a copy of 1 image/ })).toBeVisible();

  await page.getByRole('button', { name: 'Open in GIMP' }).click();
  gimp = new Gimp(page);
  await gimp.painted();
  const middle = await gimp.middle();
  await until('the stroke is back', async () => isColour(await gimp.pixel(middle), black), 30);
});

test('the server is killed: the session goes on and the page finds it by itself', async ({ page, platform }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const session = sessionId(page);
  await gimp.newImage();
  await gimp.paint();
  const pid = platform.gimpOf(session);

  await platform.end('SIGKILL');
  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'reconnecting');
  await platform.launch();

  await gimp.painted();
  expect(platform.gimpOf(session), 'the same GIMP').toBe(pid);
  expect(isColour(await gimp.pixel(await gimp.middle()), black), 'the stroke is still there').toBe(true);
  const api = await platform.signIn('ada@example.org');
  expect(await api.get(`/sessions/${session}`)).toMatchObject({ status: 'running' });
});

test('a router forgets the connections: that is noticed although nothing is closed, and the picture comes back', async ({ page, platform }) => {
  await paintedByWire(page, platform, async (wire, gimp) => {
    wire.hold();
    // Somebody works on. That no byte comes back is noticed before the server is asked whether the session is there.
    await gimp.move({ x: 500, y: 300 });
    await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'reconnecting', { timeout: 13_000 });

    await gimp.painted();
    await expect(page.getByTestId('session-canvas')).toHaveAttribute('data-exact', 'true');
  });
});

test('the network is lost: the picture comes back by itself, whole', async ({ page, platform }) => {
  await paintedByWire(page, platform, async (wire, gimp) => {
    wire.cut();
    await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'reconnecting');
    await expect(page.getByText('Reconnecting… Your session goes on.')).toBeVisible();
    wire.mend();

    await gimp.painted();
  });
});

/** A stroke is painted over a wire that `lose` loses, and waits for the picture on; then all is there, and takes input. */
async function paintedByWire(page: Page, platform: Platform, lose: (wire: Wire, gimp: Gimp) => Promise<void>): Promise<void> {
  const wire = await Wire.to(platform.url);
  try {
    await platform.end('SIGTERM');
    await platform.launch({ public_url: wire.url });
    await register(page, 'ada@example.org', wire.url);
    const gimp = await startGimp(page);
    await gimp.newImage();
    await gimp.paint();
    await lose(wire, gimp);
    expect(isColour(await gimp.pixel(await gimp.middle()), black), 'the stroke is still there').toBe(true);
    // And it still takes input.
    await gimp.showing('undo', () => gimp.press('Control+z'));
    expect(isColour(await gimp.pixel(await gimp.middle()), black), 'the stroke is undone').toBe(false);
  } finally {
    await wire.close();
  }
}
