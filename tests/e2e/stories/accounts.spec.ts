// Accounts on the pages: lockout, a forgotten password, sign-ins elsewhere, and what an administrator does.

import { password, until } from '../platform.ts';
import { expect, register, signIn, test } from '../story.ts';

test('five wrong passwords lock the account, whoever tries', async ({ page, platform, browser }) => {
  await register(page, 'ada@example.org');
  const context = await browser.newContext({ baseURL: platform.url });
  const other = await context.newPage();
  for (let attempt = 0; attempt < 5; attempt++) {
    await signIn(other, 'ada@example.org', `wrong ${attempt}`);
    await expect(other.getByRole('alert')).toBeVisible();
  }
  await signIn(other, 'ada@example.org');
  await expect(other.getByRole('alert')).toContainText(/Too many wrong passwords/);
  await expect(other).toHaveURL(/signin/);
  // Who is signed in stays so.
  await page.reload();
  await expect(page.getByRole('button', { name: 'Start GIMP' })).toBeVisible();
  await context.close();
});

test('a forgotten password is set anew by the link in the log', async ({ page, platform, browser }) => {
  await register(page, 'ada@example.org');
  const context = await browser.newContext({ baseURL: platform.url });
  const other = await context.newPage();
  await other.goto('/signin');
  await other.getByRole('link', { name: 'Forgot password?' }).click();
  await other.getByLabel('E-mail').fill('ada@example.org');
  await other.getByRole('button', { name: 'Ask for a link' }).click();
  await expect(other.getByText('your administrator has a link for it')).toBeVisible();

  const link = await until('the link is in the log', () => /https?:\/\/\S+\/reset#token=[\w-]+/.exec(platform.log)?.[0]);
  await other.goto(link);
  await other.getByLabel('New password').fill('another good passphrase');
  await other.getByRole('button', { name: 'Set password' }).click();
  await expect(other.getByText('Your password is changed')).toBeVisible();

  // The link works once, the old password not at all, and every sign-in is gone.
  await page.goto('/dashboard');
  await expect(page).toHaveURL(/signin/);
  await signIn(other, 'ada@example.org', password);
  await expect(other.getByRole('alert')).toBeVisible();
  await signIn(other, 'ada@example.org', 'another good passphrase');
  await expect(other).toHaveURL(/\/dashboard$/);
  await other.goto('about:blank');
  await other.goto(link);
  await other.getByLabel('New password').fill('a third good passphrase');
  await other.getByRole('button', { name: 'Set password' }).click();
  await expect(other.getByRole('alert')).toBeVisible();
  await context.close();
});

test('an administrator sees users, sessions and the machine, and can switch an account off', async ({ page, platform, browser }) => {
  await register(page, 'ada@example.org');
  const context = await browser.newContext({ baseURL: platform.url });
  const other = await context.newPage();
  await register(other, 'bob@example.org');
  await expect(other.getByRole('link', { name: 'Admin' })).toHaveCount(0);

  await page.getByRole('link', { name: 'Admin' }).click();
  await expect(page.getByRole('tabpanel')).toContainText('bob@example.org');
  for (const tab of ['Sessions', 'Machine', 'Invites', 'Audit log']) {
    await page.getByRole('tab', { name: tab }).click();
    await expect(page.getByRole('tab', { name: tab })).toHaveAttribute('aria-selected', 'true');
    await expect(page.getByRole('tabpanel').getByRole('alert')).toHaveCount(0);
  }
  await expect(page.getByRole('tabpanel')).toContainText('bob@example.org');

  const admin = await platform.signIn('ada@example.org');
  const bob = (await admin.get('/admin/users?query=bob')).users[0];
  await admin.request('PATCH', `/admin/users/${bob.id}`, { isActive: false });
  await other.goto('/dashboard');
  await expect(other).toHaveURL(/signin/);
  await signIn(other, 'bob@example.org');
  await expect(other.getByRole('alert')).toBeVisible();
  await context.close();
});

test.describe('by invitation', () => {
  test.use({ settings: { registration: 'invite' } });

  test('an invitation opens the door once, and its code does not stay in the address', async ({ page, browser, platform }) => {
    await register(page, 'ada@example.org');
    await page.goto('/admin?tab=invites');
    await page.getByRole('button', { name: 'Invite somebody' }).click();
    await page.getByRole('button', { name: 'Make invitation' }).click();
    const link = await page.getByLabel('Link', { exact: true }).inputValue();

    const context = await browser.newContext({ baseURL: platform.url });
    const invited = await context.newPage();
    const asked: string[] = [];
    invited.on('request', (request) => asked.push(request.url()));
    // They were on the page before, and paste the link over its address.
    await invited.goto('/register');
    const code = invited.getByLabel('Invite code');
    await expect(code).toHaveValue('');
    await invited.goto(link);
    await expect(code).not.toHaveValue('');
    await expect(invited).toHaveURL(/\/register$/);
    const secret = await code.inputValue();

    await invited.goto('about:blank');
    await invited.goto(link);
    await expect(code).toHaveValue(secret);
    await expect(invited).toHaveURL(/\/register$/);
    await invited.getByLabel('E-mail').fill('bob@example.org');
    await invited.getByLabel('Password', { exact: true }).fill(password);
    await invited.getByRole('button', { name: 'Create account' }).click();
    await expect(invited).toHaveURL(/\/dashboard$/);
    expect(asked.filter((url) => url.includes(secret))).toEqual([]);
    await context.close();

    const late = await (await browser.newContext({ baseURL: platform.url })).newPage();
    await late.goto(link);
    await late.getByLabel('E-mail').fill('eve@example.org');
    await late.getByLabel('Password', { exact: true }).fill(password);
    await late.getByRole('button', { name: 'Create account' }).click();
    await expect(late.getByRole('alert')).toBeVisible();
    await expect(late).toHaveURL(/\/register$/);
    await late.context().close();
  });
});
