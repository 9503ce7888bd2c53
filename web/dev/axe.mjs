import { readFileSync } from 'node:fs';
import { launch, fresh, shot, register, base } from './shots.mjs';
const axe = readFileSync('/tmp/axe/node_modules/axe-core/axe.min.js', 'utf8');
const b = await launch();
async function check(page, name) {
  await page.waitForTimeout(400);
  const r = await page.evaluate(async () => await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  for (const v of r.violations) console.log(name, v.id, v.impact, v.nodes.length, v.nodes.slice(0, 3).map((n) => n.target.join(' ') + ' :: ' + (n.any[0]?.message ?? n.failureSummary)).join('\n     '));
}
for (const dark of [false, true]) {
  const page = await fresh(b, { dark }); await page.addInitScript(axe);
  for (const p of ['/', '/signin', '/register', '/forgot', '/reset#token=x', '/help', '/nope']) { await page.goto(base + p); await page.getByRole('heading').first().waitFor(); await check(page, `${dark} ${p}`); }
  await register(page, `x${Date.now()}@example.org`); await page.getByTestId('file-list').waitFor(); await check(page, `${dark} dashboard`);
  for (const t of ['users', 'sessions', 'machine', 'invites', 'audit']) { await page.goto(`${base}/admin?tab=${t}`); await page.getByRole('heading').first().waitFor(); await check(page, `${dark} ${t}`); }
  await page.goto(base + '/profile'); await page.getByText('This browser').waitFor(); await check(page, `${dark} profile`);
  await page.goto(base + '/dashboard'); await page.getByRole('button', { name: 'New folder' }).click(); await check(page, `${dark} dialog`); await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Start GIMP' }).click(); await page.getByTestId('start-progress').waitFor(); await check(page, `${dark} starting`);
  await page.locator('[data-testid=session-state][data-state=connected]').waitFor(); await check(page, `${dark} session`);
  await page.getByRole('button', { name: 'Files' }).click(); await check(page, `${dark} files`); await page.keyboard.press('Escape');
  await page.mouse.move(720, 2); await page.getByRole('button', { name: 'End session' }).click(); await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click(); await page.getByRole('button', { name: 'Start again' }).waitFor(); await check(page, `${dark} ended`);
  await page.context().close();
}
await b.close();
