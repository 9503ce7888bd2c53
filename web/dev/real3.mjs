import { execSync, spawn } from 'node:child_process'; import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { launch, fresh, shot, base } from './shots.mjs';
const b = await launch();
const email = `b${Date.now()}@example.org`;
async function reg(page) { await page.goto(base + '/register'); await page.getByLabel('First name').fill('Ada'); await page.getByLabel('E-mail').fill(email); await page.getByLabel('Password').fill('correct horse battery'); await page.getByRole('button', { name: 'Create account' }).click(); await page.getByRole('heading', { name: 'Welcome, Ada' }).waitFor(); }
async function login(page) { await page.goto(base + '/signin'); await page.getByLabel('E-mail').fill(email); await page.getByLabel('Password').fill('correct horse battery'); await page.getByRole('button', { name: 'Sign in', exact: true }).click(); await page.waitForURL(/dashboard/); }
const connected = (page) => page.locator('[data-testid=session-state][data-state=connected]').waitFor({ timeout: 60000 });
const exact = (page) => page.evaluate(() => { const s = document.querySelector('[data-testid=session-canvas]'), c = s.querySelector('canvas'), r = c.getBoundingClientRect(); return [s.dataset.screen, r.left, r.top, r.width * devicePixelRatio, r.height * devicePixelRatio]; });
let first = true;
for (const [tag, opt] of [['d1', { width: 1440, height: 900 }], ['d15', { width: 1151, height: 801, ratio: 1.5, dark: true }], ['m3', { width: 390, height: 844, ratio: 3, touch: true }]]) {
  const page = await fresh(b, opt);
  page.on('response', async (r) => { if (r.status() >= 400) console.log(r.status(), r.request().method(), r.url().slice(21), (await r.text().catch(() => '')).slice(0, 200)); });
  if (first) { await reg(page); first = false; } else await login(page);
  if (tag === 'd1') { await page.getByLabel('Files to upload').setInputFiles([{ name: 'photo.png', mimeType: 'image/png', buffer: readFileSync('/tmp/web-shots/plasma.png') }, { name: 'big file.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(30 << 20, 7) }]); await page.getByRole('button', { name: 'photo.png', exact: true }).waitFor(); await page.getByRole('button', { name: 'big file.bin', exact: true }).waitFor({ timeout: 60000 }); await page.waitForTimeout(1500); await shot(page, 'rr-files', true); await page.getByRole('button', { name: 'Open in GIMP' }).click(); }
  else await page.getByRole('link', { name: 'Open GIMP' }).click();
  const t = Date.now(); await connected(page); console.log(tag, 'connected', Date.now() - t); await page.waitForTimeout(7000); await shot(page, `rr-${tag}`); console.log(tag, await exact(page), await page.getByText('scaled').count());
  if (tag === 'd1') { await page.setViewportSize({ width: 1100, height: 760 }); await page.waitForTimeout(2500); console.log('resized', await exact(page), await page.getByText('scaled').count()); await shot(page, 'rr-resized');
    const pid = readFileSync('/tmp/web-shots/gp.pid', 'utf8').trim(); execSync(`kill -9 ${pid}`); await page.locator('[data-testid=session-state][data-state=reconnecting]').waitFor(); await page.waitForTimeout(1500); await shot(page, 'rr-server-killed');
    const srv = spawn('/work/wt/web/target/debug/gimp-platform', 'serve --driver local --data-dir /tmp/web-data --listen 127.0.0.1:5190 --metrics-listen off --bcrypt-cost 4 --session-limit 4'.split(' '), { detached: true, stdio: ['ignore', openSync('/tmp/web-shots/gp3.log', 'a'), openSync('/tmp/web-shots/gp3.log', 'a')] }); srv.unref(); writeFileSync('/tmp/web-shots/gp.pid', String(srv.pid));
    const t2 = Date.now(); await connected(page); console.log('server back', Date.now() - t2); await page.waitForTimeout(1000); await shot(page, 'rr-server-back'); }
  await page.context().close();
}
await b.close();
