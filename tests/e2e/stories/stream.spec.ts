// The picture stream: exact once still, proven by the page, and VNC in its place where it does not get through.

import type { Page } from '@playwright/test';

import { isColour, white } from '../gimp.ts';
import { until } from '../platform.ts';
import { countPlainSockets, expect, plainSockets, register, startGimp, test } from '../story.ts';
import { Wire } from '../wire.ts';

test('what was painted becomes exact, and the page proves it', async ({ page }) => {
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const canvas = page.getByTestId('session-canvas');
  await expect(canvas).toHaveAttribute('data-transport', 'webrtc');
  await gimp.newImage();

  // A long stroke at speed, and while it is going on a menu over it.
  const { width, height } = await gimp.size();
  await page.mouse.move(width * 0.35, height * 0.4);
  await page.mouse.down();
  for (let step = 0; step < 120; step++) {
    await page.mouse.move(width * (0.35 + 0.25 * (step / 120)), height * (0.4 + 0.1 * Math.sin(step / 8)));
  }
  await page.mouse.up();
  await page.keyboard.press('Alt+f');
  await page.keyboard.press('Escape');

  await expect(canvas).toHaveAttribute('data-exact', 'true', { timeout: 10_000 });
  await page.keyboard.press('Control+Alt+Shift+H');
  await expect(page.getByTestId('hud-transport')).toContainText(/stream/i);
  await expect(page.getByTestId('hud-exact')).toBeVisible();
  // A pointer over GIMP's rulers moves marks on them: it rests before the proof.
  await page.getByTestId('hud-prove').click();
  await expect(page.getByTestId('hud-proof')).toContainText('Every pixel', { timeout: 10_000 });
  // And the keys are GIMP's again.
  await expect(gimp.canvas).toBeFocused();
  await page.mouse.move(width / 2, 4);
  await page.getByRole('button', { name: 'Figures of the picture' }).click();
  await expect(gimp.canvas).toBeFocused();
});

test('the page is isolated, and a worker has the stream’s WebSocket', async ({ page }) => {
  await countPlainSockets(page);
  await register(page, 'ada@example.org');
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  const gimp = await startGimp(page);
  await gimp.newImage();
  const workers = () => page.workers().map((worker) => /\/(\w+)-[^/]*\.js$/.exec(worker.url())?.[1]).sort();
  // One that takes video from WebRTC, and that of the stream.
  await expect.poll(workers).toEqual(['ringWorker', 'rtpWorker']);
  expect(await plainSockets(page)).toBe(0);

  // Who leaves the session's page leaves nothing running.
  await page.evaluate(() => history.back());
  await expect(page).toHaveURL(/\/dashboard$/);
  await expect.poll(workers).toEqual([]);
});

test('a browser that cannot wait for shared memory has the stream’s WebSocket in the page', async ({ page }) => {
  await countPlainSockets(page);
  await page.addInitScript(() => Object.assign(Atomics, { waitAsync: undefined }));
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  await gimp.newImage();
  await expect(page.getByTestId('session-canvas')).toHaveAttribute('data-exact', 'true', { timeout: 10_000 });
  await expect(page.getByTestId('session-canvas')).toHaveAttribute('data-transport', /webrtc|websocket/);
  expect(await plainSockets(page)).toBeGreaterThan(0);
});

test('where the stream does not get through, VNC takes over, and the stream again when it can', async ({ page, platform }) => {
  const wire = await Wire.to(platform.url);
  try {
    // As a proxy does that knows nothing of the stream.
    wire.refuse(/^GET \S+\/stream /);
    await platform.end('SIGTERM');
    await platform.launch({ public_url: wire.url });
    await register(page, 'ada@example.org', wire.url);
    const gimp = await startGimp(page);
    const canvas = page.getByTestId('session-canvas');
    await expect(canvas).toHaveAttribute('data-transport', 'vnc');
    await gimp.newImage();

    wire.mend();
    await expect(canvas).toHaveAttribute('data-transport', /webrtc|websocket/, { timeout: 60_000 });
    await expect(canvas).toHaveAttribute('data-exact', 'true', { timeout: 10_000 });
    await gimp.atRest();
    expect(await gimp.colours()).toBeGreaterThan(40);
  } finally {
    await wire.close();
  }
});

/** What the agent says of its addresses reaches the page as `sessionStorage` wants it: all, none, or those of TCP. */
async function meddle(page: Page): Promise<void> {
  await page.addInitScript(() => {
    type Take = (this: RTCPeerConnection, description: RTCSessionDescriptionInit) => Promise<void>;
    const take: Take = RTCPeerConnection.prototype.setRemoteDescription;
    const peers: RTCPeerConnection[] = [];
    Object.assign(window, { peers });
    RTCPeerConnection.prototype.setRemoteDescription = function (this: RTCPeerConnection, { type, sdp }: RTCSessionDescriptionInit) {
      peers.push(this);
      const way = sessionStorage.getItem('way') ?? 'all';
      const kept = sdp?.split('\r\n').filter((line) => !line.startsWith('a=candidate') || way === 'all' || (way === 'tcp' && / tcp /i.test(line)));
      return take.call(this, { type, sdp: kept?.join('\r\n') });
    };
  });
}

/** The protocol of the candidate pair in use. */
function protocol(page: Page): Promise<string | undefined> {
  return page.evaluate(async () => {
    const peer = (window as unknown as { peers: RTCPeerConnection[] }).peers.at(-1);
    const stats = [...((await peer?.getStats()) ?? new Map<string, Record<string, string>>()).values()] as Record<string, string>[];
    const pair = stats.find(({ type, state }) => type === 'candidate-pair' && state === 'succeeded');
    return stats.find(({ id }) => id === pair?.['remoteCandidateId'])?.['protocol'];
  });
}

test('where UDP is blocked the WebSocket carries it, and WebRTC again when it can; a stroke goes on over the change', async ({ page }) => {
  await meddle(page);
  await page.addInitScript(() => sessionStorage.getItem('way') ?? sessionStorage.setItem('way', 'none'));
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const canvas = page.getByTestId('session-canvas');
  await expect(canvas).toHaveAttribute('data-transport', 'websocket');
  await gimp.newImage();
  await page.keyboard.press('Control+Alt+Shift+H');
  await expect(page.getByTestId('hud')).toContainText('WebRTC did not connect in time');

  await page.evaluate(() => sessionStorage.setItem('way', 'all'));
  await expect(canvas).toHaveAttribute('data-transport', 'webrtc', { timeout: 60_000 });
  expect(await protocol(page)).toBe('udp');

  await gimp.press('p');
  // The stroke's first half goes by WebRTC, then that is cut without a word.
  const { x, y } = await gimp.middle();
  await page.mouse.move(x - 120, y);
  await page.mouse.down();
  for (let step = 0; step <= 40; step++) {
    await page.mouse.move(x - 120 + step * 6, y);
    if (step === 20) await page.evaluate(() => (window as unknown as { peers: RTCPeerConnection[] }).peers.at(-1)?.close());
  }
  await page.mouse.up();
  await expect(canvas).toHaveAttribute('data-exact', 'true');
  for (const at of [-110, -60, -6, 6, 60, 110]) {
    await until(`the stroke is at ${at}`, async () => !isColour(await gimp.pixel({ x: x + at, y }), white), 10);
  }
});

test('where only TCP gets through, WebRTC goes by TCP', async ({ page }) => {
  await meddle(page);
  await page.addInitScript(() => sessionStorage.setItem('way', 'tcp'));
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  const canvas = page.getByTestId('session-canvas');
  await expect(canvas).toHaveAttribute('data-transport', 'webrtc');
  expect(await protocol(page)).toBe('tcp');
  await gimp.newImage();
  await expect(canvas).toHaveAttribute('data-exact', 'true');
});

test('the way can be pinned, and is kept', async ({ page }) => {
  await register(page, 'ada@example.org');
  await startGimp(page);
  const canvas = page.getByTestId('session-canvas');
  await page.mouse.move(400, 4);
  await page.getByRole('button', { name: 'Picture', exact: true }).click();
  await page.getByRole('menuitemradio', { name: /VNC/ }).click();
  await expect(canvas).toHaveAttribute('data-transport', 'vnc', { timeout: 20_000 });
  await page.reload();
  await expect(canvas).toHaveAttribute('data-transport', 'vnc', { timeout: 20_000 });
});
