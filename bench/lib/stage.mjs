// A session in Chromium with a scene on its X server, for benchmarks of the picture.

import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { pause, registerUser, root, tree, until, usage } from './platform.mjs';

const args = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });

/** A page of that size whose user has a running session; shown over `transport` once `show` is called. */
export async function openStage(browser, platform, { width, height }) {
  const email = `stage-${width}x${height}-${Math.random().toString(36).slice(2)}@example.org`;
  const user = await registerUser(platform.url, email);
  const context = await browser.newContext({ viewport: { width, height } });
  const page = await context.newPage();
  await page.goto(`${platform.url}/signin`);
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill('a long bench password');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL(`${platform.url}/dashboard`);
  const session = await user.api('POST', '/sessions', { screen: { width, height, scale: 1 } });
  await until(async () => (await user.api('GET', `/sessions/${session.id}`)).status === 'running', 60_000);
  const run = path.join(platform.dataDir, 'run', session.id);
  const { init } = JSON.parse(await readFile(path.join(run, 'sandbox.json'), 'utf8'));

  return {
    page,
    /** Opens the session's page anew over a transport, and waits for its picture. */
    async show(transport) {
      await page.goto(`${platform.url}/dashboard`);
      await page.evaluate((value) => localStorage.setItem('gimp-platform.transport', value), transport);
      await page.goto(`${platform.url}/session/${session.id}`);
      await page.waitForSelector('[data-testid=session-state][data-state=connected]', { state: 'attached', timeout: 30_000 });
      // The toolbar goes away.
      await page.mouse.move(width / 2, height - 20);
      await pause(4500);
    },
    /** Starts a scene; resolves with how to end it. */
    async play(mode) {
      const program = path.join(process.env.BENCH_BINARIES ?? path.join(root, 'target/release'), 'examples/scene');
      const { display } = JSON.parse(await readFile(path.join(run, 'shared/takeover.json'), 'utf8'));
      const scene = spawn('nsenter', [`--net=/proc/${init.pid}/ns/net`, program, String(display), path.join(run, 'shared/Xauthority'), mode]);
      let said = '';
      scene.stdout.on('data', (data) => (said += data));
      scene.stderr.on('data', (data) => (said += data));
      await until(() => {
        if (scene.exitCode !== null) throw new Error(`the scene ended: ${said}`);
        return said.includes('ready');
      }, 20_000);
      await pause(800);
      return async () => {
        scene.kill();
        await new Promise((resolve) => scene.once('exit', resolve));
        await pause(500);
      };
    },
    /** CPU seconds so far of the agent, the X server and the gateway; PSS of the first two, MiB. */
    async spent() {
      const named = {};
      for (const pid of await tree(init.pid)) {
        const name = (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim();
        (named[name] ??= []).push(pid);
      }
      const agent = await usage(named['gimp-session'] ?? []);
      const display = await usage([...(named.Xorg ?? []), ...(named.Xvnc ?? [])]);
      const gateway = await usage([platform.pid]);
      return { agent: agent.cpu, display: display.cpu, gateway: gateway.cpu, pss: agent.pss + display.pss };
    },
    async received() {
      return down(platform);
    },
    async close() {
      await user.api('DELETE', `/sessions/${session.id}`);
      await context.close();
    },
  };
}

/** Bytes that the gateway has sent to browsers. */
async function down(platform) {
  const text = await (await fetch(`${platform.metrics}/metrics`)).text();
  const line = text.split('\n').find((line) => line.startsWith('gimp_platform_gateway_bytes_total') && line.includes('"down"'));
  return Number(line?.split(' ').at(-1) ?? 0);
}

/** Makes `window.peek(x, y, width)` of the page read a row of the session's live picture. */
export const installPeek = (page) =>
  page.evaluate(() => {
    const live = () => [...document.querySelectorAll('[data-testid=session-canvas] canvas')].filter((canvas) => canvas.width > 300 && !canvas.ariaHidden).at(-1);
    let canvas;
    let context;
    let copy;
    window.peek = (x, y, width) => {
      if (!canvas?.isConnected) {
        canvas = live();
        context = null;
        try {
          context = canvas.getContext('2d');
        } catch {
          // Drawn by a worker: what it has shown is copied.
        }
        copy = new OffscreenCanvas(width, 1).getContext('2d', { willReadFrequently: true });
      }
      if (context) return context.getImageData(x, y, width, 1).data;
      copy.drawImage(canvas, x, y, width, 1, 0, 0, width, 1);
      return copy.getImageData(0, 0, width, 1).data;
    };
  });

/** Milliseconds from key events to the first animation frame in which the pixel at (x, y) has changed. */
export async function keyToPixel(page, { x, y, count }) {
  await page.evaluate(
    ([x, y]) => {
      window.latencies = [];
      let since = null;
      let before = null;
      const read = () => window.peek(x, y, 1).join();
      addEventListener('keydown', (event) => (since = event.timeStamp), { capture: true });
      const look = () => {
        const now = read();
        if (since !== null && before !== null && now !== before) {
          window.latencies.push(performance.now() - since);
          since = null;
        }
        before = now;
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    },
    [x, y],
  );
  await pause(300);
  for (let i = 0; i < count; i++) {
    await page.keyboard.press('a');
    await pause(120 + Math.random() * 130);
  }
  await pause(500);
  return page.evaluate(() => window.latencies);
}

/** What a page needs that draws by itself when a key is pressed. */
export async function floor(browser, size, count) {
  const context = await browser.newContext({ viewport: size });
  const page = await context.newPage();
  await page.setContent('<canvas style="position:fixed;inset:0"></canvas>');
  await page.evaluate(({ width, height }) => {
    const canvas = document.querySelector('canvas');
    Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d', { alpha: false, desynchronized: true });
    let turn = 0;
    addEventListener('keydown', () => {
      context.fillStyle = turn++ % 2 ? '#fff' : '#000';
      context.fillRect(width - 360, 400, 300, 200);
    });
    window.peek = (x, y, width) => context.getImageData(x, y, width, 1).data;
  }, size);
  const latencies = await keyToPixel(page, { x: size.width - 200, y: 500, count });
  await context.close();
  return latencies;
}

/** Watches a scene with a clock: distinct frames a second and the age of what is shown at each animation frame. */
export async function watchMotion(page, seconds) {
  return page.evaluate(async (seconds) => {
    const ages = [];
    let distinct = 0;
    let last = null;
    const end = performance.now() + seconds * 1000;
    await new Promise((resolve) => {
      const look = () => {
        const row = window.peek(0, 8, 384);
        let value = 0;
        for (let bit = 0; bit < 24; bit++) value = value * 2 + (row[(bit * 16 + 8) * 4] > 128 ? 1 : 0);
        const now = performance.timeOrigin + performance.now();
        const age = (Math.round(now) - value) & 0xffffff;
        if (age < 10_000) {
          ages.push(age);
          if (value !== last) distinct++;
          last = value;
        }
        if (performance.now() < end) requestAnimationFrame(look);
        else resolve();
      };
      requestAnimationFrame(look);
    });
    return { fps: distinct / seconds, ages };
  }, seconds);
}

