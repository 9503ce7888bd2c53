import { launch, fresh, shot, register, base } from './shots.mjs';
const b = await launch(); const only = process.argv[2];
for (const [tag, opt] of [['dark', { dark: true }], ['m', { width: 390, height: 844, ratio: 3, touch: true }], ['md', { width: 390, height: 844, ratio: 2, touch: true, dark: true }]]) {
  if (only && only !== tag) continue;
  const page = await fresh(b, opt);
  await page.goto(base); await page.getByRole('heading', { name: 'GIMP, in your browser' }).waitFor(); await shot(page, tag + '-landing', true);
  await page.goto(base + '/signin'); await page.getByLabel('E-mail').fill('nobody@example.org'); await page.getByLabel('Password').fill('wrong'); await page.getByRole('button', { name: 'Sign in' }).click(); await page.getByRole('alert').waitFor(); await shot(page, tag + '-signin');
  await page.goto(base + '/register'); await page.getByLabel('E-mail').fill('taken@example.org'); await page.getByLabel('Password').fill('wrongwrong'); await page.getByRole('button', { name: 'Create account' }).click(); await page.getByText('There is an account').waitFor(); await shot(page, tag + '-register');
  await register(page, `a${Date.now()}@example.org`);
  await page.getByTestId('file-list').waitFor(); await page.waitForTimeout(300); await shot(page, tag + '-dashboard', true);
  await page.getByRole('button', { name: 'Actions for portrait.xcf' }).click(); await page.waitForTimeout(200); await shot(page, tag + '-filemenu'); await page.keyboard.press('Escape');
  await page.goto(base + '/profile'); await page.getByText('This browser').waitFor(); await shot(page, tag + '-profile', true);
  await page.goto(base + '/help'); await page.getByRole('heading', { name: 'Touch' }).waitFor(); await shot(page, tag + '-help', true);
  await page.goto(base + '/dashboard'); await page.getByRole('button', { name: 'Start GIMP' }).click(); await page.waitForURL(/session/);
  await page.locator('[data-testid=session-state][data-state=connected]').waitFor(); await page.waitForTimeout(1500); await shot(page, tag + '-session');
  console.log(tag, 'screen', await page.getByTestId('session-canvas').getAttribute('data-screen'), await page.evaluate(() => { const c = document.querySelector('[data-testid=session-canvas] [role=application]'); const r = c.getBoundingClientRect(); return [c.width, c.height, r.left, r.top, r.width * devicePixelRatio, r.height * devicePixelRatio]; }));
  await page.getByRole('button', { name: 'Files' }).click(); await page.waitForTimeout(400); await shot(page, tag + '-session-files'); await page.getByRole('button', { name: 'Close files' }).click();
  await page.getByRole('button', { name: 'Clipboard' }).click(); await page.waitForTimeout(400); await shot(page, tag + '-session-clip'); await page.getByRole('button', { name: 'Close clipboard' }).click();
  await page.getByRole('button', { name: 'End session' }).click(); await page.waitForTimeout(300); await shot(page, tag + '-end');
  await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click(); await page.getByRole('button', { name: 'Start again' }).waitFor(); await shot(page, tag + '-ended');
  await page.context().close();
}
await b.close();
