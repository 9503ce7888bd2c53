import { execSync } from 'node:child_process';
import { launch, fresh, shot, base } from './shots.mjs';
const b = await launch(); const page = await fresh(b);
page.on('response', async (r) => { if (r.status() >= 400) console.log(r.status(), r.request().method(), r.url().slice(21), (await r.text().catch(() => '')).slice(0, 200)); });
await page.goto(base + '/register'); await page.getByLabel('First name').fill('Ada'); await page.getByLabel('E-mail').fill(`c${Date.now()}@example.org`); await page.getByLabel('Password').fill('correct horse battery'); await page.getByRole('button', { name: 'Create account' }).click(); await page.getByRole('heading', { name: 'Welcome, Ada' }).waitFor();
await page.getByRole('button', { name: 'Start GIMP' }).click();
await page.locator('[data-testid=session-state][data-state=connected]').waitFor({ timeout: 60000 }); await page.waitForTimeout(6000);
const c = page.locator('[data-testid=session-canvas] canvas');
await c.click({ position: { x: 600, y: 450 } }); await page.mouse.move(720, 3); await page.getByRole('button', { name: 'Send keys' }).click(); await page.getByRole('menuitem', { name: /New image/ }).click(); await page.waitForTimeout(2500); await page.keyboard.press('Enter'); await page.waitForTimeout(3000); await page.keyboard.press('p'); await page.waitForTimeout(300);
await page.mouse.move(500, 400); await page.mouse.down(); for (let i = 0; i < 30; i++) await page.mouse.move(500 + i * 12, 400 + 60 * Math.sin(i / 3)); await page.mouse.up(); await page.waitForTimeout(2000); await shot(page, 'g-painted');
const mine = execSync(`for p in $(pgrep -x gimp-2.10; pgrep -x gimp); do q=$p; while [ "$q" -gt 1 ]; do if tr '\\0' ' ' </proc/$q/cmdline | grep -q /tmp/web-data; then echo $p; break; fi; q=$(awk '{print $4}' /proc/$q/stat); done; done`, { shell: '/bin/bash' }).toString().trim().split('\n'); console.log('gimp pids of mine', mine);
execSync(`kill -9 ${mine.join(' ')}`); await page.waitForTimeout(1500); await shot(page, 'g-killed'); await page.waitForTimeout(8000); await shot(page, 'g-restarted');
console.log('state', await page.getByTestId('session-state').getAttribute('data-state'));
if (await page.getByRole('button', { name: 'Show copies' }).count()) { await page.getByRole('button', { name: 'Show copies' }).click(); await page.waitForTimeout(1500); await shot(page, 'g-copies'); await page.keyboard.press('Escape'); }
await page.mouse.click(600, 450); await page.mouse.move(720, 3); await page.waitForTimeout(300);
await page.getByRole('button', { name: 'End session' }).click(); await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click(); await page.waitForTimeout(600); await shot(page, 'g-ending');
await page.getByRole('button', { name: 'Start again' }).waitFor({ timeout: 60000 }); await page.waitForTimeout(1000); await shot(page, 'g-ended');
await b.close();
