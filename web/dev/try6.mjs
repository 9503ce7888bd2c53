import { execSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { launch, fresh, shot, register, base } from './shots.mjs';
const b = await launch();
for (const [w, h, ratio] of [[1440, 900, 1], [1152, 720, 1.25], [960, 600, 1.5], [720, 450, 2]]) {
  const page = await fresh(b, { width: w, height: h, ratio });
  await register(page, `a${Date.now()}@example.org`);
  const start = page.getByRole('button', { name: 'Start GIMP' }), open = page.getByRole('link', { name: 'Open GIMP' });
  await start.or(open).first().click(); await page.waitForURL(/session/);
  await page.locator('[data-testid=session-state][data-state=connected]').waitFor(); await page.mouse.move(w / 2, h - 5); await page.waitForTimeout(6500);
  const n = `exact-${ratio}`; await shot(page, n);
  const data = await page.locator('[data-testid=session-canvas] canvas').evaluate((c) => c.toDataURL()); writeFileSync(`/tmp/web-shots/${n}-canvas.png`, Buffer.from(data.split(',')[1], 'base64'));
  execSync(`DISPLAY=:77 import -window root /tmp/web-shots/${n}-root.png`);
  // below the toolbar's handle, without the local cursor
  const cmp = (a, c) => { try { return execSync(`compare -metric AE ${a} ${c} null: 2>&1`).toString(); } catch (e) { return e.stdout.toString(); } };
  for (const f of ['', '-canvas', '-root']) execSync(`convert /tmp/web-shots/${n}${f}.png -crop 1300x700+0+60 +repage /tmp/web-shots/${n}${f}-c.png`);
  console.log(ratio, await page.getByTestId('session-canvas').getAttribute('data-screen'), 'canvas vs root', cmp(`/tmp/web-shots/${n}-canvas-c.png`, `/tmp/web-shots/${n}-root-c.png`), 'screen vs canvas', cmp(`/tmp/web-shots/${n}-c.png`, `/tmp/web-shots/${n}-canvas-c.png`));
  await page.context().close();
}
await b.close();
