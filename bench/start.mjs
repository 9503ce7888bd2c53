// Click to painted GIMP in Chromium, first and returning start of a user, in steps, beside GIMP alone.

import { chromium } from 'playwright-core';
import { gimpAlone } from './lib/gimp-alone.mjs';
import { registerUser, spread, startPlatform, until } from './lib/platform.mjs';

const runs = Number(process.env.BENCH_RUNS ?? 5);
const args = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const platform = await startPlatform();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
const results = { first: [], returning: [], alone: [] };
const steps = {};
try {
  for (let run = 0; run < runs; run++) {
    results.alone.push(await gimpAlone());
    const email = `start${run}@example.org`;
    await registerUser(platform.url, email);
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    await page.goto(`${platform.url}/signin`);
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password', { exact: true }).fill('a long bench password');
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.waitForURL(`${platform.url}/dashboard`);
    for (const kind of ['first', 'returning']) {
      await page.goto(`${platform.url}/dashboard`);
      const button = page.getByRole('button', { name: 'Start GIMP' });
      await button.waitFor();
      const clicked = performance.now();
      await button.click();
      results[kind].push((await painted(page)) - clicked);
      const { sessions } = await page.evaluate(async () => (await fetch('/api/v1/sessions')).json());
      const session = sessions[0];
      (steps[kind] ??= []).push(Date.parse(session.startedAt) - Date.parse(session.createdAt));
      await page.evaluate((id) => fetch(`/api/v1/sessions/${id}`, { method: 'DELETE' }), session.id);
      await until(
        async () => (await page.evaluate(async () => (await fetch('/api/v1/sessions')).json())).sessions[0].endedAt,
        60_000,
      );
    }
    await context.close();
  }
} finally {
  await browser.close();
  await platform.stop();
}
console.log('| what | median (min-max) |\n| --- | --- |');
console.log(`| GIMP alone, same X server and caches: exec to painted | ${spread(results.alone)} |`);
for (const kind of ['first', 'returning']) {
  console.log(`| ${kind} start: click to painted in the browser | ${spread(results[kind])} |`);
  console.log(`| ${kind} start: of it, request to GIMP painted on the server | ${spread(steps[kind])} |`);
}
const above = results.returning.map((ms, i) => ms - results.alone[i]);
console.log(`| returning start above GIMP alone, pair by pair | ${spread(above)} |`);

// Painted: the canvas has the session's size, more than one colour, and has not changed for 200 ms. The time is that of
// the last change.
async function painted(page) {
  let last;
  let since = performance.now();
  return until(
    async () => {
      const now = performance.now();
      const picture = await page
        .evaluate(() => {
          const canvas = document.querySelector('[data-testid=session-canvas] canvas');
          if (!canvas || canvas.width < 600) return null;
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let hash = 0;
          const colours = new Set();
          for (let i = 0; i < data.length; i += 4 * 61) {
            const colour = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
            hash = (Math.imul(hash, 31) + colour) | 0;
            colours.add(colour);
          }
          return colours.size > 20 ? hash : null;
        })
        .catch(() => null);
      if (picture === null || picture !== last) {
        last = picture;
        since = now;
        return null;
      }
      return now - since >= 200 ? since : null;
    },
    60_000,
    20,
  );
}
