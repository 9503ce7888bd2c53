// What every story starts from: a running platform and a browser. An ERROR in the server's log, a process or a mount
// left behind, and an error on the page fail the story.

import { readFileSync } from 'node:fs';

import { expect, type Page, test as base } from '@playwright/test';
import { PNG } from 'pngjs';

import { Gimp, type Point } from './gimp.ts';
import { password, Platform, type Settings } from './platform.ts';

interface Fixtures {
  /** Settings of the story's server beside those every story has. */
  settings: Settings;
  platform: Platform;
  /** Errors of the page that the story expects, e.g. of a connection it cuts. */
  pageErrors: string[];
}

export const test = base.extend<Fixtures>({
  settings: [{}, { option: true }],

  platform: async ({ settings }, use, info) => {
    const platform = await Platform.start(settings);
    try {
      await use(platform);
    } finally {
      const problems = await platform.stop();
      if (info.status !== info.expectedStatus || problems.length > 0) {
        await info.attach('server.log', { body: platform.log, contentType: 'text/plain' });
        console.log(`--- the server's log of "${info.title}"\n${platform.log.split('\n').slice(-80).join('\n')}`);
      }
      expect(problems, 'nothing of the server is left, and it found no bug of its own').toEqual([]);
    }
  },

  baseURL: async ({ platform }, use) => {
    await use(platform.url);
  },

  pageErrors: [
    async ({ page }, use) => {
      const errors: string[] = [];
      page.on('pageerror', (error) => errors.push(`${error}`));
      await use(errors);
      expect(errors, 'the page threw nothing').toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** Makes an account on the page; ends on the dashboard. Gives the user's id. */
export async function register(page: Page, email: string, url = ''): Promise<string> {
  await page.goto(`${url}/register`);
  await page.getByLabel('First name').fill('Ada');
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Create account' }).click();
  await expect(page).toHaveURL(/\/dashboard$/);
  return page.evaluate(async () => (await (await fetch('/api/v1/users/profile')).json()).id);
}

export async function signIn(page: Page, email: string, secret = password): Promise<void> {
  await page.goto('/signin');
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(secret);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

/** From the dashboard to a painted GIMP. */
export async function startGimp(page: Page): Promise<Gimp> {
  await page.getByRole('button', { name: 'Start GIMP' }).click();
  await expect(page).toHaveURL(/\/session\/[0-9a-f-]+$/, { timeout: 60_000 });
  const gimp = new Gimp(page);
  await gimp.painted();
  return gimp;
}

/** From its next load on the page counts the stream's WebSockets that it makes itself, not in a worker. */
export async function countPlainSockets(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const counted = { plainSockets: 0 };
    Object.assign(window, { counted });
    // Not a subclass: noVNC looks for the methods on the object's own prototype.
    window.WebSocket = new Proxy(WebSocket, {
      construct(target, [url, protocols]: [string | URL, string[]?]) {
        if (String(url).endsWith('/stream')) counted.plainSockets++;
        return new target(url, protocols);
      },
    });
  });
}

export function plainSockets(page: Page): Promise<number> {
  return page.evaluate(() => (window as unknown as { counted: { plainSockets: number } }).counted.plainSockets);
}

export function sessionId(page: Page): string {
  return new URL(page.url()).pathname.split('/').at(-1)!;
}

/** Ends the session from its own page and sees it ended. */
export async function endSession(page: Page): Promise<void> {
  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: 'End session' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click();
  await expect(page.getByTestId('session-state')).toHaveAttribute('data-state', 'ended', { timeout: 60_000 });
}

/** Files are named as GIMP names them, `stroke.png`. */
export function fileNamed(page: Page, name: string) {
  return page.getByTestId('file-list').getByRole('button', { name, exact: true });
}

export function readPng(path: string): PNG {
  return PNG.sync.read(readFileSync(path));
}

export function pixelOf(image: PNG, { x, y }: Point): number[] {
  const at = (y * image.width + x) * 4;
  return [...image.data.subarray(at, at + 3)];
}

/** Size of the smallest rectangle that holds every pixel of a colour. */
export function extentOf(image: PNG, colour: number[]): { width: number; height: number } {
  const found: Point[] = [];
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      if (pixelOf(image, { x, y }).every((value, index) => value === colour[index])) found.push({ x, y });
    }
  }
  if (found.length === 0) return { width: 0, height: 0 };
  const span = (values: number[]) => values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b)) + 1;
  return { width: span(found.map(({ x }) => x)), height: span(found.map(({ y }) => y)) };
}
