import { execFileSync, spawn } from 'node:child_process';
import { launch, fresh, shot, register, base } from './shots.mjs';
const b = await launch();
const env = { ...process.env, DISPLAY: ':77' };
const get = () => execFileSync('python3', ['/tmp/web-shots/clip.py', 'get'], { env }).toString().trim();
for (const granted of [true, false]) {
  const page = await fresh(b);
  await register(page, `a${Date.now()}@example.org`);
  await page.context().grantPermissions(granted ? ['clipboard-read', 'clipboard-write'] : ['clipboard-write']);
  if (granted) await page.evaluate(() => navigator.clipboard.writeText('local früh ☀'));
  await page.getByRole('button', { name: 'Start GIMP' }).or(page.getByRole('link', { name: 'Open GIMP' })).first().click(); await page.waitForURL(/session/);
  await page.locator('[data-testid=session-state][data-state=connected]').waitFor(); await page.waitForTimeout(1500);
  if (granted) console.log('granted: X has', get());
  const set = spawn('python3', ['/tmp/web-shots/clip.py', 'set', 'from X é€ ' + granted], { env }); await page.waitForTimeout(2500);
  if (granted) console.log('granted: browser has', await page.evaluate(() => navigator.clipboard.readText()));
  else {
    console.log('toast', await page.getByText('Text was copied in GIMP').count());
    await page.mouse.move(720, 3); await page.getByRole('button', { name: 'Clipboard' }).click(); console.log('panel', await page.getByLabel('Shared text').inputValue());
    await page.getByLabel('Shared text').fill('typed in the panel'); await page.getByRole('button', { name: 'Send to GIMP' }).click(); await page.waitForTimeout(800); console.log('X has', get());
    await page.getByLabel('Shared text').fill('copied with keys'); await page.getByLabel('Shared text').press('Control+a'); await page.getByLabel('Shared text').press('Control+c'); await page.getByRole('button', { name: 'Close clipboard' }).click();
    await page.evaluate(() => { window.v = []; document.addEventListener('paste', (e) => window.v.push(e.clipboardData.getData('text/plain')), true); });
    await page.mouse.click(300, 700); await page.keyboard.press('Control+v'); await page.waitForTimeout(1500); console.log('paste event', await page.evaluate(() => window.v), 'X has', get());
  }
  await new Promise((r) => set.on('exit', r));
  await page.context().close();
}
await b.close();
