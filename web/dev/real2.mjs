import { readFileSync } from 'node:fs';
import { launch, fresh, shot, base } from './shots.mjs';
const b = await launch();
const page = await fresh(b);
page.on('response', async (r) => { if (r.status() >= 400 && !/sessions|events|workspace|files/.test(r.url())) console.log(r.status(), r.request().method(), r.url().slice(21), (await r.text().catch(() => '')).slice(0, 400)); });
const mail = `a${Date.now()}@example.org`;
await page.goto(base + '/register');
await page.getByLabel('First name').fill('Ada'); await page.getByLabel('E-mail').fill(mail); await page.getByLabel('Password').fill('correct horse battery');
await page.getByRole('button', { name: 'Create account' }).click(); await page.getByRole('heading', { name: 'Welcome, Ada' }).waitFor();
await page.goto(base + '/profile'); await page.getByText('This browser').waitFor(); await shot(page, 'r-profile', true);
await page.getByLabel('Last name').fill('Lovelace'); await page.getByRole('button', { name: 'Save' }).click(); await page.getByText('Saved.').waitFor();
await page.getByLabel('E-mail').fill('new' + mail); await page.getByLabel('Current password').first().fill('wrong'); await page.getByRole('button', { name: 'Save' }).click(); await page.waitForTimeout(1500); await shot(page, 'r-profile-wrong', true);
await page.getByLabel('Current password').first().fill('correct horse battery'); await page.getByRole('button', { name: 'Save' }).click(); await page.waitForTimeout(1500);
await page.getByLabel('Current password').fill('correct horse battery'); await page.getByLabel('New password').fill('short'); await page.evaluate(() => document.querySelectorAll('form')[1].noValidate = true); await page.getByRole('button', { name: 'Change password' }).click(); await page.waitForTimeout(1200); await shot(page, 'r-password-short', true);
await page.getByLabel('New password').fill('another good password'); await page.getByRole('button', { name: 'Change password' }).click(); await page.getByText('Your password is changed').waitFor();
for (const tab of ['users', 'invites', 'audit']) { await page.goto(`${base}/admin?tab=${tab}`); await page.waitForTimeout(1500); await shot(page, 'r-admin-' + tab); }
await page.goto(`${base}/admin?tab=users`); await page.getByRole('button', { name: /Actions for/ }).first().click(); await page.getByRole('menuitem', { name: 'Link for a new password' }).click(); await page.getByLabel('Link', { exact: true }).waitFor(); const link = await page.getByLabel('Link', { exact: true }).inputValue(); console.log(link.slice(0, 40)); await page.getByRole('button', { name: 'Close' }).click();
await page.getByRole('button', { name: /Actions for/ }).first().click(); await page.getByRole('menuitem', { name: 'Change storage' }).click(); await page.getByLabel('Gigabytes').fill('5'); await page.getByRole('button', { name: 'Save' }).click(); await page.waitForTimeout(800); await shot(page, 'r-admin-quota');
await page.goto(`${base}/admin?tab=invites`); await page.getByRole('button', { name: 'Invite somebody' }).click(); await page.getByRole('button', { name: 'Make invitation' }).click(); await page.getByLabel('Link', { exact: true }).waitFor(); await page.getByRole('button', { name: 'Close' }).click(); await page.waitForTimeout(800); await shot(page, 'r-invites');
await page.getByRole('button', { name: 'Account' }).click(); await page.getByRole('menuitem', { name: 'Sign out' }).click(); await page.getByRole('heading', { name: 'GIMP, in your browser' }).waitFor();
await page.goto(base + '/forgot'); await page.waitForTimeout(500); await page.getByLabel('E-mail').fill('new' + mail); await page.getByRole('button', { name: /link/ }).click(); await page.waitForTimeout(1000); await shot(page, 'r-forgot');
await page.goto(base + '/reset' + new URL(link).hash); await page.getByLabel('New password').fill('reset to this password'); await page.getByRole('button', { name: 'Set password' }).click(); await page.waitForTimeout(1500); await shot(page, 'r-reset'); console.log('address', page.url());
await page.goto(base + '/profile'); await page.waitForURL(/signin/); await page.getByLabel('E-mail').fill('new' + mail);
for (let i = 0; i < 6; i++) { await page.getByLabel('Password').fill('wrong'); await page.getByRole('button', { name: 'Sign in' }).click(); await page.waitForTimeout(400); }
await shot(page, 'r-lockout');
await b.close();
