import { launch, fresh, shot, register, base } from './shots.mjs';
const b = await launch();
for (const [tag, opt] of [['l', {}], ['m', { width: 390, height: 844, ratio: 2, touch: true }], ['d', { dark: true }]]) {
  const page = await fresh(b, opt);
  const email = tag === 'l' ? 'admin@example.org' : null;
  if (email) await register(page, email); else { await page.goto(base + '/signin'); await page.getByLabel('E-mail').fill('admin@example.org'); await page.getByLabel('Password').fill('correct horse battery'); await page.getByRole('button', { name: 'Sign in' }).click(); await page.waitForURL(/dashboard/); }
  for (const tab of ['users', 'sessions', 'machine', 'invites', 'audit']) {
    await page.goto(`${base}/admin?tab=${tab}`); await page.getByRole('tabpanel').waitFor(); await page.waitForTimeout(500);
    if (tab === 'sessions') { await page.getByLabel('Show').selectOption(''); await page.waitForTimeout(400); }
    if (tab === 'users') { await page.getByRole('button', { name: /Actions for a.very/ }).click(); await page.waitForTimeout(200); }
    if (tab === 'invites') { await page.getByRole('button', { name: 'Invite somebody' }).click(); await page.getByRole('button', { name: 'Make invitation' }).click(); await page.getByRole('dialog').getByLabel('Link', { exact: true }).waitFor(); await page.waitForTimeout(200); }
    await shot(page, `${tag}-admin-${tab}`);
  }
  await page.goto(base + '/help'); await page.getByRole('heading', { name: 'Touch' }).waitFor(); await shot(page, `${tag}-help`, true);
  await page.goto(base + '/nowhere'); await page.getByRole('heading', { name: 'Page not found' }).waitFor(); await shot(page, `${tag}-404`);
  const w = await page.evaluate(() => document.documentElement.scrollWidth); console.log(tag, 'scrollWidth', w);
  await page.context().close();
}
await b.close();
