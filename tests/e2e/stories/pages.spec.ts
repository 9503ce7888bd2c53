// Every page: no violation of WCAG 2.2 AA that a scan finds, dark and light, and no sideways scrolling on a phone.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

import type { AxeResults } from 'axe-core';
import type { Page } from '@playwright/test';

import { expect, register, startGimp, test } from '../story.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

async function scan(page: Page, what: string): Promise<void> {
  await page.evaluate(axe);
  const results = await page.evaluate(
    () =>
      (window as unknown as { axe: { run(options: object): Promise<AxeResults> } }).axe.run({
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      }),
  );
  const found = results.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' | ')}`);
  expect(found, what).toEqual([]);
}

const open = ['/', '/signin', '/register', '/forgot', '/reset#token=x', '/help', '/nowhere'];
const signedIn = ['/dashboard', '/profile', '/admin', '/admin?tab=sessions', '/admin?tab=machine', '/admin?tab=invites', '/admin?tab=audit'];

async function settled(page: Page, path: string): Promise<void> {
  await page.goto(path);
  await page.waitForLoadState('networkidle').catch(() => {});
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const path of open) {
      await settled(page, path);
      await scan(page, path);
    }
    await register(page, 'ada@example.org');
    for (const path of signedIn) {
      await settled(page, path);
      await scan(page, path);
    }
  });
}

test('accessible beside GIMP, and by keyboard from the first page to the session', async ({ page }) => {
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await register(page, 'ada@example.org');
  await page.getByRole('button', { name: 'Start GIMP' }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'connected', { timeout: 60_000 });
  await page.mouse.move(640, 2);
  await scan(page, 'session');
  // Out of the picture without a mouse.
  await page.keyboard.press('Control+Alt+Shift+M');
  await expect(page.getByRole('link', { name: 'Dashboard' })).toBeFocused();
  await page.getByRole('button', { name: 'Files', exact: true }).focus();
  await page.keyboard.press('Enter');
  // Loaded: before, its buttons are disabled.
  await expect(page.getByRole('region', { name: 'Files of your workspace' })).toContainText('No files yet');
  await scan(page, 'session with its files');
});

test.describe('on a phone', () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

  test('nothing is cut off, and GIMP runs', async ({ page }) => {
    const fits = async (path: string) => {
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(width, `${path} scrolls sideways`).toBeLessThanOrEqual(390);
    };
    for (const path of open) {
      await settled(page, path);
      await fits(path);
    }
    await register(page, 'ada@example.org');
    for (const path of signedIn) {
      await settled(page, path);
      await fits(path);
    }
    await page.goto('/dashboard');
    const gimp = await startGimp(page);
    await expect.poll(() => gimp.size()).toEqual({ width: 390, height: 844 });
  });
});
