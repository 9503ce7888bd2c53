import { chromium } from 'playwright-core';
const base = process.env.BASE ?? 'http://127.0.0.1:5180', out = '/tmp/web-shots/';
export const launch = () => chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
export async function fresh(browser, { width = 1440, height = 900, dark = false, ratio = 1, touch = false } = {}) {
  const ctx = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', deviceScaleFactor: ratio, hasTouch: touch, isMobile: touch });
  const page = await ctx.newPage();
  page.on('console', (m) => { if (['error', 'warning'].includes(m.type()) && !/401/.test(m.text())) console.log('CONSOLE', m.type(), m.text(), m.location().url); });
  page.on('pageerror', (e) => console.log('PAGEERROR', e));
  return page;
}
export const shot = (page, name, full = false) => page.screenshot({ path: `${out}${name}.png`, fullPage: full });
export async function register(page, email) {
  await page.goto(base + '/register');
  await page.getByLabel('First name').fill('Ada');
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password').fill('correct horse battery');
  await page.getByRole('button', { name: 'Create account' }).click();
  await page.getByRole('heading', { name: 'Welcome, Ada' }).waitFor();
}
export { base };
