// A line that is slow, lossy or cut between this network and one for the browser: bench/net/line.c. Ends with this process.

import { execFileSync, spawn } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root } from './platform.mjs';

export const SERVER = '10.78.0.1';
const BROWSER = '10.78.0.2';

/** To be called in a network of its own, see own-network.mjs. */
export async function openLine() {
  const folder = await mkdtemp(path.join(tmpdir(), 'bench-line-'));
  execFileSync('cc', ['-O2', '-pthread', path.join(root, 'bench/net/line.c'), '-o', path.join(folder, 'line')]);
  // The far network lives as long as somebody is in it.
  const far = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo up && exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise((resolve) => far.stdout.once('data', resolve));
  const network = `/proc/${far.pid}/ns/net`;
  const line = spawn(path.join(folder, 'line'), [`/proc/${process.pid}/ns/net`, SERVER, network, BROWSER], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: line.stdout })[Symbol.asyncIterator]();
  const answer = async (wanted) => {
    const { value } = await answers.next();
    if (value !== wanted) throw new Error(`the line says ${value}`);
  };
  await answer('ready');
  const tell = async (command) => {
    line.stdin.write(`${command}\n`);
    await answer('ok');
  };

  // What Playwright starts as the browser.
  const browser = path.join(folder, 'browser');
  await writeFile(browser, `#!/bin/sh\nexec nsenter --net=${network} ${process.env.CHROMIUM ?? '/usr/bin/chromium'} "$@"\n`);
  await chmod(browser, 0o755);
  return {
    browser,
    /** Round trip in ms, loss in percent of each way, Mbit/s of each way (0: no limit), whether UDP gets through. */
    async set({ roundTrip = 0, loss = 0, mbit = 0, udp = true }) {
      await tell(`set ${roundTrip / 2} ${loss} ${mbit * 1000} 200`);
      await tell(`udp ${udp ? 1 : 0}`);
    },
    cut: () => tell('up 0'),
    mend: () => tell('up 1'),
    async close() {
      for (const child of [line, far]) {
        child.stdin.end();
        await new Promise((resolve) => child.once('exit', resolve));
      }
      await rm(folder, { recursive: true });
    },
  };
}
