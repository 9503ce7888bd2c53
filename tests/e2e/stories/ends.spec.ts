// Ends that the platform plans: the user is told before, can put it off, and the history says why.

import type { Page } from '@playwright/test';

import { Platform } from '../platform.ts';
import { expect, register, startGimp, test } from '../story.ts';

test.use({ settings: { session_minutes: 2, warn_minutes: 2, idle_minutes: 0 } });

test('time is up, and nobody is there', async ({ page, platform, browser }) => {
  test.setTimeout(360_000);
  // Both at once: each waits for minutes.
  const idle = await Platform.start({ idle_minutes: 1, warn_minutes: 1 });
  const away = await (await browser.newContext({ baseURL: idle.url })).newPage();
  try {
    await register(page, 'ada@example.org');
    await register(away, 'bob@example.org');
    await startGimp(page);
    await startGimp(away);

    // Warned when half the time is over: the one without input after half a minute, the other after a minute.
    const offered = (at: Page, name: string) => at.getByRole('region', { name: 'Messages' }).getByRole('button', { name });
    await offered(away, 'Keep going').click({ timeout: 60_000 });
    await expect(away.getByRole('region', { name: 'Messages' })).toContainText('The session goes on');
    const kept = Date.now();
    await expect(offered(page, 'Extend')).toBeVisible({ timeout: 90_000 });
    // A page that is opened only now warns as well, and stops when another one put the end off.
    const late = await page.context().newPage();
    await late.goto('/dashboard');
    await expect(offered(late, 'Extend')).toBeVisible();
    await offered(page, 'Extend').click();
    await expect(page.getByRole('region', { name: 'Messages' })).toContainText('The session goes on');
    await expect(offered(late, 'Extend')).toHaveCount(0);
    await late.close();

    // It outlives the end it was warned of, and another warning comes before the next.
    await expect(offered(away, 'Keep going')).toBeVisible({ timeout: 60_000 });

    await expect(page.getByRole('heading', { name: 'The time was up' })).toBeVisible({ timeout: 180_000 });
    await expect(away.getByRole('heading', { name: 'Ended because nobody was using it' })).toBeVisible({ timeout: 180_000 });
    const ended = Date.parse((await (await idle.signIn('bob@example.org')).get('/sessions')).sessions[0].endedAt);
    expect(ended - kept, 'a whole time without input from there').toBeGreaterThan(55_000);
    await page.getByRole('link', { name: 'To the dashboard' }).click();
    await expect(page.getByTestId('history')).toContainText('The time was up');
    await away.getByRole('link', { name: 'To the dashboard' }).click();
    await expect(away.getByTestId('history')).toContainText('Ended because nobody was using it');
  } finally {
    await away.context().close();
    expect(await idle.stop()).toEqual([]);
  }
  expect(platform.log).not.toContain('panicked');
});
