// A session in Chromium with a scene or GIMP on its X server, for benchmarks of the picture: what was shown, sent, spent.

import { execFile, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { wireBytes } from './own-network.mjs';
import { binaries, pause, processOf, registerUser, tree, until, usage } from './platform.mjs';

const browserOptions = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  // Who starts a browser here ends the platform first.
  handleSIGINT: false,
  handleSIGTERM: false,
};

/** Chromium that no display shows. */
export const launch = ({ args = [], ...more } = {}) =>
  chromium.launch({ ...browserOptions, ...more, args: ['--headless=new', ...browserOptions.args, ...args] });

/** Chromium with one page that fills a display, for measurements on the glass; see display.mjs. */
export const launchOn = ({ name, width, height }) =>
  chromium.launchPersistentContext('', {
    ...browserOptions,
    headless: false,
    viewport: null,
    args: [...browserOptions.args, '--kiosk', '--window-position=0,0', `--window-size=${width},${height}`],
    env: { ...process.env, DISPLAY: name },
  });

/**
 * Playwright has the browser tell it of every message of a WebSocket, with its bytes as text: 2 ms of a key's way, and for
 * what no browser does that is not driven. The stream's is one of a worker.
 */
async function tellNothingOfNetworks(page) {
  const sessions = page._connection.toImpl(page).delegate._networkManager._sessions.keys();
  await Promise.all([...sessions].map((session) => session.send('Network.disable')));
}

/** A page of that size whose user has a running session; shown over a transport once `show` is called. */
export async function openStage(browser, platform, { width, height }) {
  const email = `stage-${width}x${height}-${Math.random().toString(36).slice(2)}@example.org`;
  const user = await registerUser(platform.url, email);
  const [page, leave] = await openPage(browser, { width, height });
  await page.addInitScript(onlyTcp);
  await page.goto(`${platform.url}/signin`);
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill('a long bench password');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL(`${platform.url}/dashboard`);
  const session = await user.api('POST', '/sessions', { screen: { width, height, scale: 1 } });
  await until(async () => (await user.api('GET', `/sessions/${session.id}`)).status === 'running', 60_000);
  const run = path.join(platform.dataDir, 'run', session.id);
  const { init } = JSON.parse(await readFile(path.join(run, 'sandbox.json'), 'utf8'));
  const display = async () => JSON.parse(await readFile(path.join(run, 'shared/takeover.json'), 'utf8')).display;
  const inNetwork = `--net=/proc/${init.pid}/ns/net`;
  const authority = path.join(run, 'shared/Xauthority');

  let playing = null;

  /** Process ids by what they do for the picture. */
  async function processes() {
    const who = { agent: [], display: [], gimp: [], others: [], gateway: [platform.pid], browser: [], page: [] };
    const names = { 'gimp-session': 'agent', Xorg: 'display', Xvnc: 'display' };
    for (const pid of await tree(init.pid)) {
      const name = (await processOf(pid))?.name ?? '';
      who[names[name] ?? (/^gimp(-\d|$)/.test(name) ? 'gimp' : 'others')].push(pid);
    }
    for (const pid of await tree(process.pid)) {
      if ((await processOf(pid))?.name !== 'chromium') continue;
      who.browser.push(pid);
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (line.includes('--type=renderer')) who.page.push(pid);
    }
    return who;
  }

  return {
    page,
    width,
    height,
    /**
     * Opens the session's page anew over a transport, or `auto`, and waits for its picture. Gives the way taken and the
     * milliseconds until its first picture; null: this build does not offer the transport.
     */
    async show(transport) {
      await page.goto(`${platform.url}/dashboard`);
      const wanted = transport === 'webrtc-tcp' ? 'webrtc' : transport;
      await page.evaluate(
        ([pin, way]) => {
          localStorage.setItem('gimp-platform.transport', pin);
          localStorage.setItem('bench.way', way);
        },
        [wanted, transport],
      );
      const began = performance.now();
      await page.goto(`${platform.url}/session/${session.id}`);
      const shown = page.locator('[data-testid=session-canvas][data-transport]');
      await shown.waitFor({ state: 'attached', timeout: 60_000 }).catch(() => {
        throw new Error(`no picture over ${transport} within a minute`);
      });
      const ms = performance.now() - began;
      // The stream begins on its WebSocket; WebRTC comes a moment later, by TCP later still.
      const best = wanted === 'auto' ? 'webrtc' : wanted;
      const there = page.locator(`[data-testid=session-canvas][data-transport=${best}]`).waitFor({ state: 'attached', timeout: 10_000 });
      await there.catch(() => undefined);
      const taken = await shown.getAttribute('data-transport');
      if (wanted !== 'auto' && taken !== wanted) return null;
      // The toolbar goes away.
      await page.mouse.move(width / 2, height - 20);
      await pause(4500);
      await tellNothingOfNetworks(page);
      return { taken, ms };
    },
    /** Starts a scene. It can be held (`hold`), which leaves its last picture, go on (`resume`), and must end (`end`). */
    async play(mode) {
      await playing?.end();
      const scene = spawn('nsenter', [inNetwork, path.join(binaries, 'examples/scene'), String(await display()), authority, mode]);
      const ended = new Promise((resolve) => scene.once('exit', resolve));
      // One that is held would stay for ever.
      const kill = () => scene.kill('SIGKILL');
      process.once('exit', kill);
      let said = '';
      scene.stdout.on('data', (data) => (said += data));
      scene.stderr.on('data', (data) => (said += data));
      await until(() => {
        if (scene.exitCode !== null) throw new Error(`the scene ended: ${said}`);
        return said.includes('ready');
      }, 20_000);
      await pause(800);
      playing = {
        hold: () => scene.kill('SIGSTOP'),
        resume: () => scene.kill('SIGCONT'),
        async end() {
          playing = null;
          process.off('exit', kill);
          kill();
          await ended;
          await pause(500);
        },
      };
      return playing;
    },
    /** The X server's screen: red, green, blue, 255 of every pixel. */
    async screenshot() {
      const { stdout } = await promisify(execFile)('nsenter', [inNetwork, 'xwd', '-root', '-silent', '-display', `:${await display()}`], {
        env: { PATH: process.env.PATH, XAUTHORITY: authority },
        encoding: 'buffer',
        maxBuffer: 64 << 20,
      });
      return pixelsOf(stdout);
    },
    /** CPU seconds so far of agent, display, gimp, others of the sandbox, gateway, browser, and of it the page. */
    async spent() {
      const spent = {};
      for (const [who, pids] of Object.entries(await processes())) {
        const found = await Promise.all(pids.map(processOf));
        spent[who] = found.reduce((sum, of) => sum + (of?.cpu ?? 0), 0);
      }
      return spent;
    },
    /** Seconds and bytes of an act, and by whom how many CPU seconds were spent. */
    async cost(act) {
      const [before, bytes, began] = [await this.spent(), await this.bytes(), performance.now()];
      await act();
      const [after, more] = [await this.spent(), await this.bytes()];
      const cpu = Object.fromEntries(Object.keys(after).map((who) => [who, after[who] - before[who]]));
      return { seconds: (performance.now() - began) / 1000, bytes: more - bytes, cpu };
    },
    /** PSS in MiB of the sandbox's processes by what they do, and by name. */
    async memory() {
      const { agent, display, gimp, others } = await processes();
      const of = async (pids) => (await usage(pids)).pss;
      const { byName } = await usage([...agent, ...display, ...gimp, ...others]);
      return { agent: await of(agent), display: await of(display), gimp: await of(gimp), others: await of(others), byName };
    },
    /** Bytes so far: all of the wire in a network of its own, else those that the gateway passed on. */
    bytes: async () => wireBytes() ?? forwarded(platform),
    /** Puts a file into the user's workspace. */
    async upload(file) {
      await page.goto(`${platform.url}/dashboard`);
      await page.getByLabel('Files to upload').setInputFiles(file);
      await page.getByTestId('file-list').getByRole('button', { name: file.name, exact: true }).waitFor({ timeout: 120_000 });
    },
    async close() {
      await playing?.end();
      await user.api('DELETE', `/sessions/${session.id}`);
      await leave();
    },
  };
}

/** In the page: for `webrtc-tcp` the agent has no addresses but those of ICE-TCP. */
function onlyTcp() {
  const take = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    const all = localStorage.getItem('bench.way') !== 'webrtc-tcp';
    const kept = sdp?.split('\r\n').filter((line) => all || !line.startsWith('a=candidate') || / tcp /i.test(line));
    return take.call(this, { type, sdp: kept?.join('\r\n') });
  };
}

/** A page, and how to leave it. */
export async function openPage(browser, viewport) {
  if (!browser.newContext) {
    const [page] = browser.pages();
    return [page, () => page.goto('about:blank')];
  }
  const context = await browser.newContext({ viewport });
  return [await context.newPage(), () => context.close()];
}

/** Bytes that the gateway has passed on between browsers and agents. */
async function forwarded(platform) {
  const text = await (await fetch(`${platform.metrics}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith('gimp_platform_gateway_bytes_total'));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** Of an XWD file (X11/XWDFile.h) with 32 bits a pixel, blue first. */
function pixelsOf(xwd) {
  const [header, , , , width, height] = Array.from({ length: 6 }, (_, i) => xwd.readUInt32BE(i * 4));
  const [bits, stride, colours] = [xwd.readUInt32BE(44), xwd.readUInt32BE(48), xwd.readUInt32BE(76)];
  if (bits !== 32) throw new Error(`a screen of ${bits} bits a pixel`);
  const start = header + colours * 12;
  const data = Buffer.alloc(width * height * 4, 255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [from, to] = [start + y * stride + x * 4, (y * width + x) * 4];
      data[to] = xwd[from + 2];
      data[to + 1] = xwd[from + 1];
      data[to + 2] = xwd[from];
    }
  }
  return { width, height, data };
}

/** Gives the page `liveCanvas()`, and `peek(x, y, width, height)` that reads pixels of the session's live picture. */
export const installPeek = (page) =>
  page.evaluate(() => {
    window.liveCanvas = () => [...document.querySelectorAll('[data-testid=session-canvas] canvas')].filter((canvas) => canvas.width > 300 && !canvas.ariaHidden).at(-1);
    let canvas;
    let context;
    let copy;
    window.peek = (x, y, width, height = 1) => {
      if (!canvas?.isConnected) {
        canvas = window.liveCanvas();
        context = null;
        try {
          context = canvas?.getContext('2d');
        } catch {
          // Drawn by a worker: what it has shown is copied.
        }
      }
      if (!canvas) return new Uint8ClampedArray(width * height * 4);
      if (context) return context.getImageData(x, y, width, height).data;
      if (copy?.canvas.width !== width || copy.canvas.height !== height) {
        copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
      }
      copy.drawImage(canvas, x, y, width, height, 0, 0, width, height);
      return copy.getImageData(0, 0, width, height).data;
    };
  });

/** What counts for an input that no change answered. */
const NEVER = 5000;

/**
 * Milliseconds from input events to the first animation frame in which one of `width` pixels from (x, y) on has changed.
 * `act` makes the events, of type `event`; the next comes after the answer to the one before.
 *
 * That frame is up to 16.7 ms after the change: Chromium runs what follows a key only after the next frame while a page
 * asks for frames. `bench/run glass` measures without asking.
 */
export async function inputToPixel(page, { event, x, y, width = 1, count, act }) {
  await page.evaluate(
    ({ event, x, y, width, never }) => {
      const read = () => String.fromCharCode(...window.peek(x, y, width));
      let stopped = false;
      let wanted = null;
      let before = read();
      const happened = ({ timeStamp }) => {
        if (wanted) wanted.since ??= timeStamp;
      };
      const answer = (latency) => {
        wanted.resolve(latency);
        wanted = null;
      };
      const look = () => {
        if (stopped) return;
        const now = read();
        const time = performance.now();
        if (wanted?.since != null && now !== before) answer(time - wanted.since);
        else if (wanted && time - wanted.began > never) answer(never);
        before = now;
        requestAnimationFrame(look);
      };
      addEventListener(event, happened, { capture: true });
      requestAnimationFrame(look);
      window.inputToPixel = {
        expect() {
          wanted = { began: performance.now() };
          this.answer = new Promise((resolve) => (wanted.resolve = resolve));
        },
        stop() {
          stopped = true;
          removeEventListener(event, happened, { capture: true });
        },
      };
    },
    { event, x, y, width, never: NEVER },
  );
  await pause(300);
  const latencies = [];
  for (let i = 0; i < count; i++) {
    await page.evaluate(() => window.inputToPixel.expect());
    await act(i);
    latencies.push(await page.evaluate(() => window.inputToPixel.answer));
    await pause(120 + Math.random() * 130);
  }
  await page.evaluate(() => window.inputToPixel.stop());
  return latencies;
}

export const keyToPixel = (page, at) => inputToPixel(page, { ...at, event: 'keydown', act: () => page.keyboard.press('a') });

/** Scenes that show no answer to a key, but a clock. */
export const MOVING = ['motion', 'blend'];

/** Where the others show their answer. */
export const patchAt = ({ width }) => ({ x: width - 200, y: 500 });

/** Makes the page one that draws by itself when a key is pressed: what is the least that others can take. */
export async function showFloor(page, size) {
  await page.setContent('<canvas style="position:fixed;inset:0"></canvas>');
  // A browser with a window gives keys to its address bar first.
  await page.mouse.click(10, 10);
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
}

/** By animation frames, see `inputToPixel`. */
export async function floor(browser, size, count) {
  const [page, leave] = await openPage(browser, size);
  await showFloor(page, size);
  const latencies = await keyToPixel(page, { ...patchAt(size), count });
  await leave();
  return latencies;
}

/**
 * Watches a scene with a clock: distinct pictures a second, the age of what is shown at each animation frame, every new
 * picture as [milliseconds of the clock, age, whether the page says that it is exact], the share of those that are (null:
 * VNC does not say), and times without a new one of more than a second.
 */
export async function watchMotion(page, seconds) {
  const { ages, pictures, began, ended } = await page.evaluate(async (seconds) => {
    const clock = () => performance.timeOrigin + performance.now();
    const [ages, pictures, began] = [[], [], clock()];
    const said = document.querySelector('[data-testid=session-canvas]').dataset;
    let last = null;
    await new Promise((resolve) => {
      const look = () => {
        const row = window.peek(0, 8, 384);
        let value = 0;
        for (let bit = 0; bit < 24; bit++) value = value * 2 + (row[(bit * 16 + 8) * 4] > 128 ? 1 : 0);
        const now = clock();
        const age = (Math.round(now) - value) & 0xffffff;
        if (age < 60_000) {
          ages.push(age);
          if (value !== last) pictures.push([now, age, said.transport === 'vnc' ? null : said.exact === 'true']);
          last = value;
        }
        if (now < began + seconds * 1000) requestAnimationFrame(look);
        else resolve();
      };
      requestAnimationFrame(look);
    });
    return { ages, pictures, began, ended: clock() };
  }, seconds);
  const times = [began, ...pictures.map(([time]) => time), ended];
  const freezes = times.slice(1).map((time, i) => time - times[i]).filter((gap) => gap > 1000);
  const says = pictures.filter(([, , exact]) => exact !== null);
  const exact = says.length ? says.filter(([, , exact]) => exact).length / says.length : null;
  return { fps: pictures.length / seconds, ages, pictures, exact, freezes };
}
