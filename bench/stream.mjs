// The browser's side of the picture stream alone, with its engine in the page and in a worker: from a key to the frame
// that shows what an agent answers at once, and whole screens of photograph, decoded and drawn.

import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

import { build } from '../web/node_modules/vite/dist/node/index.js';
import { FakeAgent } from './lib/fake-agent.mjs';
import { photoTiles } from './lib/photo-tiles.mjs';

const keys = Number(process.env.BENCH_KEYS ?? 120);
const screens = Number(process.env.BENCH_SCREENS ?? 30);
const args = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const types = { '.html': 'text/html', '.js': 'text/javascript' };

const dist = await mkdtemp(join(tmpdir(), 'bench-stream-'));
await build({
  root: fileURLToPath(new URL('stream', import.meta.url)),
  configFile: fileURLToPath(new URL('../web/vite.config.ts', import.meta.url)),
  logLevel: 'error',
  build: { outDir: dist, emptyOutDir: true },
});
const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://bench').pathname;
  try {
    const file = join(dist, path === '/' ? 'index.html' : path);
    response.setHeader('content-type', types[extname(file)] ?? 'application/octet-stream').end(readFileSync(file));
  } catch {
    response.writeHead(404).end();
  }
});
const agent = new FakeAgent(server);
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${server.address().port}`;
const pictures = [1, 2].map((seed) => photoTiles(1920, 1080, seed));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });

console.log('| engine in | key to frame, p50 / p95 ms | screen decoded and drawn, p50 / p95 ms | screen to frame, p50 / p95 ms |\n| --- | --- | --- | --- |');
try {
  for (const place of ['page', 'worker', 'page', 'worker']) {
    const page = await browser.newPage({ viewport: { width: 1920, height: 1080 } });
    await page.goto(`${url}/?place=${place}`);
    await page.waitForSelector('body[data-open]', { state: 'attached' });
    await pause(500);
    for (let i = 0; i < keys + 10; i++) {
      await page.keyboard.press('a');
      await pause(30 + Math.random() * 20);
    }
    const latencies = (await page.evaluate(() => window.latencies)).slice(10);
    const decoded = [];
    const framed = [];
    for (let i = 0; i < screens + 3; i++) {
      const changed = page.evaluate(() => window.untilChanged());
      await pause(40);
      const began = performance.now();
      decoded.push(await agent.draw(pictures[i % 2]));
      await changed;
      framed.push(performance.now() - began);
      await pause(50);
    }
    console.log(`| ${place} | ${spread(latencies)} | ${spread(decoded.slice(3))} | ${spread(framed.slice(3))} |`);
    await page.close();
  }
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
  await rm(dist, { recursive: true });
}
process.exit(0);

function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.floor(sorted.length * share)].toFixed(1);
  return `${at(0.5)} / ${at(0.95)}`;
}
