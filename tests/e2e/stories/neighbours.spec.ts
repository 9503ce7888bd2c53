// Two users side by side: neither sees, reaches or disturbs the other.

import { existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Page } from '@playwright/test';

import { password, Refused } from '../platform.ts';
import { expect, fileNamed, register, sessionId, startGimp, test } from '../story.ts';

/** Tries to open the picture of a session from a page, with the page's cookies. */
function knock(page: Page, session: string): Promise<string> {
  return page.evaluate(
    (id) =>
      new Promise<string>((resolve) => {
        const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/session/${id}/vnc`, ['binary']);
        socket.onopen = () => {
          socket.close();
          resolve('open');
        };
        socket.onerror = () => resolve('refused');
      }),
    session,
  );
}

test('two users paint at once and cannot reach each other', async ({ page, browser, platform }) => {
  const context = await browser.newContext({ baseURL: platform.url });
  const other = await context.newPage();
  const ada = await register(page, 'ada@example.org');
  await register(other, 'bob@example.org');
  const hers = await startGimp(page);
  const his = await startGimp(other);
  await Promise.all([hers.newImage(), his.newImage()]);
  await hers.paint();
  await hers.exportAs('secret.png', () => existsSync(join(platform.workspace(ada), 'secret.png')));
  const session = sessionId(page);

  const api = await platform.signIn('bob@example.org');
  const refusal = (request: Promise<unknown>) =>
    request.then(
      () => null,
      (error) => (error instanceof Refused ? error.status : Promise.reject(error)),
    );

  // Her session is not there for him, by any door.
  expect(await refusal(api.get(`/sessions/${session}`))).toBe(404);
  expect(await refusal(api.get(`/sessions/${session}/status`))).toBe(404);
  expect(await refusal(api.delete(`/sessions/${session}`))).toBe(404);
  expect(await refusal(api.post(`/sessions/${session}/extend`))).toBe(404);
  expect(await refusal(api.put(`/sessions/${session}/screen`, { width: 800, height: 600, scale: 1 }))).toBe(404);
  expect(await refusal(api.post(`/sessions/${session}/open`, { path: 'secret.png' }))).toBe(404);
  expect((await api.get('/sessions')).sessions.map(({ id }: { id: string }) => id)).not.toContain(session);
  expect(await refusal(api.get('/admin/sessions'))).toBe(403);
  expect(await api.status('/files/content?path=secret.png')).toBe(404);
  expect(await refusal(api.get(`/files?path=${encodeURIComponent(`../${ada}`)}`))).toBeGreaterThanOrEqual(400);
  const bob = (await api.get('/users/profile')).id;
  writeFileSync(join(platform.workspace(bob), 'mine.txt'), 'mine');
  expect(await api.status('/files/content?path=mine.txt')).toBe(200);
  // A link in his workspace that leads into hers leads nowhere.
  symlinkSync(join(platform.workspace(ada), 'secret.png'), join(platform.workspace(bob), 'link.png'));
  expect(await api.status('/files/content?path=link.png')).toBeGreaterThanOrEqual(400);

  // Neither is the picture of her session: with his cookies, and with none.
  expect(await knock(other, session)).toBe('refused');
  expect(await knock(page, session), 'it is her door').toBe('open');
  await other.goto(`/session/${session}`);
  await expect(other.getByRole('heading', { name: 'There is no such session' })).toBeVisible();
  const stranger = await (await browser.newContext({ baseURL: platform.url })).newPage();
  await stranger.goto('/signin');
  expect(await knock(stranger, session)).toBe('refused');
  await stranger.context().close();

  // Her page never noticed; his panel shows only what is his.
  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'connected');
  await other.goto('/dashboard');
  await expect(fileNamed(other, 'mine.txt')).toBeVisible();
  await expect(fileNamed(other, 'secret.png')).toHaveCount(0);
  expect(platform.log).not.toContain(password);
  await context.close();
});
