import { execSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { launch, fresh, shot, register, base } from './shots.mjs';
const b = await launch();
const page = await fresh(b);
await page.context().grantPermissions([]);
await register(page, `a${Date.now()}@example.org`);
// uploads
await page.getByTestId('file-list').waitFor();
await page.getByLabel('Files to upload').setInputFiles([{ name: 'photo.png', mimeType: 'image/png', buffer: readFileSync(new URL('./sample.png', import.meta.url)) }, { name: 'big.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(12 << 20, 7) }, { name: 'portrait.xcf', mimeType: 'x', buffer: Buffer.alloc(2000) }]);
await page.waitForTimeout(700); await shot(page, 'uploading');
await page.getByText('There is a file of this name already.').waitFor();
await page.getByRole('button', { name: 'Keep both' }).click();
await page.getByRole('button', { name: 'portrait (2).xcf', exact: true }).waitFor(); await page.waitForTimeout(3500); await shot(page, 'uploaded', true);
await page.getByRole('button', { name: 'Actions for photo.png' }).click(); await page.waitForTimeout(150); await shot(page, 'filemenu');
await page.getByRole('menuitem', { name: 'Move to trash' }).click(); await page.getByText('photo.png is in the trash').waitFor(); await page.waitForTimeout(300); await shot(page, 'undo');
await page.getByRole('button', { name: 'Trash' }).click(); await page.getByRole('button', { name: 'Restore' }).waitFor(); await shot(page, 'trash', true);
await page.getByRole('button', { name: 'Files', exact: true }).click();
await page.getByRole('button', { name: 'Undo' }).click(); await page.getByRole('button', { name: 'photo.png', exact: true }).waitFor();
await page.getByRole('button', { name: 'New folder' }).click(); await page.getByLabel('Name').fill('a/b'); await page.keyboard.press('Enter'); await page.getByText('A name cannot contain a slash').waitFor(); await shot(page, 'newfolder');
await page.getByLabel('Name').fill('Commissions'); await page.keyboard.press('Enter'); await page.getByRole('button', { name: 'Commissions', exact: true }).click(); await page.getByText('This folder is empty').waitFor(); await shot(page, 'emptyfolder', true);
await page.getByRole('button', { name: 'Files', exact: true }).click();
// open an image: starts GIMP and opens it
let opened = null; page.on('request', (r) => { if (r.url().endsWith('/open')) opened = r.url(); });
await page.getByRole('button', { name: 'Open in GIMP' }).nth(2).click();
await page.waitForURL(/session/); await page.waitForTimeout(600); await shot(page, 'session-starting');
const st = page.getByTestId('session-state');
await page.locator('[data-testid=session-state][data-state=connected]').waitFor(); await page.waitForTimeout(500); console.log("opened", opened);
// keyboard through xev
const xev = spawn('xev', ['-geometry', '600x400+20+20'], { env: { ...process.env, DISPLAY: ':77' } }); let log = ''; xev.stdout.on('data', (d) => (log += d));
await page.waitForTimeout(800); await page.mouse.move(200, 250); await page.mouse.click(200, 250); await page.waitForTimeout(300);
await page.keyboard.type('aÄ€'); await page.keyboard.down('Control'); await page.keyboard.press('z'); await page.keyboard.up('Control');
await page.keyboard.down('Shift'); await page.keyboard.down('b');
await page.mouse.move(720, 3); await page.waitForTimeout(400); await page.getByRole('button', { name: 'Send keys' }).click(); await page.waitForTimeout(300);
await page.getByRole('menuitem', { name: 'Close image' }).click(); await page.waitForTimeout(500);
await page.keyboard.up('b'); await page.keyboard.up('Shift'); 
await page.keyboard.press('Control+Alt+Shift+M'); await page.waitForTimeout(300); console.log('focus', await page.evaluate(() => document.activeElement.getAttribute('aria-label')));
xev.kill(); console.log(log.split('\n').filter((l) => /keysym/.test(l)).map((l) => /keysym 0x\w+, ([^)]+)\)/.exec(l)?.[1]).join(' '), '|', (log.match(/KeyPress event/g) || []).length, (log.match(/KeyRelease event/g) || []).length);
// lose the network
await page.mouse.move(700, 500);
execSync('kill -USR2 ' + readFileSync('/tmp/web-shots/mock.pid', 'utf8'));
await page.locator('[data-testid=session-state][data-state=reconnecting]').waitFor(); await page.waitForTimeout(100); await shot(page, 'reconnecting');
const t = Date.now(); await page.locator('[data-testid=session-state][data-state=connected]').waitFor(); console.log('back after', Date.now() - t);
await page.waitForTimeout(300); await shot(page, 'reconnected');
// notices
const id = page.url().split('/').pop();
for (const kind of ['expiring', 'restarted']) await page.evaluate(([kind, id]) => fetch('/api/v1/_notice', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ kind, sessionId: id, detail: kind === 'expiring' ? 'The session ends in 10 minutes.' : '', at: new Date().toISOString() }) }), [kind, id]);
await page.waitForTimeout(400); await shot(page, 'notices');
await page.getByRole('button', { name: 'Extend', exact: true }).click(); await page.getByText('The session goes on').waitFor();
await b.close();
