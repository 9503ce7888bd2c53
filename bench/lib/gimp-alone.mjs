// GIMP by itself in the same kind of X server (Xorg, dummy screen, TigerVNC's module, openbox), with its caches made by
// one earlier start and clean quit: the floor that a session's start is compared with.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { until } from './platform.mjs';

const config = `
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoAddGPU" "false"
EndSection
Section "Module"
  Disable "glx"
  Load "vnc"
EndSection
Section "Device"
  Identifier "gpu"
  Driver "dummy"
  VideoRam 262144
EndSection
Section "Screen"
  Identifier "screen"
  Device "gpu"
  DefaultDepth 24
  Option "SecurityTypes" "None"
  Option "rfbport" "-1"
  SubSection "Display"
    Depth 24
    Modes "1280x800"
    Virtual 1280 800
  EndSubSection
EndSection
`;

/** Milliseconds from exec to the last repaint of the mapped main window (200 ms of quiet after it). */
export async function gimpAlone() {
  const home = await mkdtemp(path.join(tmpdir(), 'gimp-alone-'));
  const children = [];
  const start = (command, args, env, stdio = 'ignore') => {
    const child = spawn(command, args, { stdio, env: { PATH: process.env.PATH, HOME: home, LANG: 'C.UTF-8', ...env } });
    child.ended = new Promise((resolve) => child.once('exit', resolve));
    children.push(child);
    return child;
  };
  try {
    await writeFile(path.join(home, 'xorg.conf'), config);
    await mkdir(path.join(home, 'empty'));
    const xorg = start(
      '/usr/lib/xorg/Xorg',
      ['-config', path.join(home, 'xorg.conf'), '-configdir', path.join(home, 'empty'), '-noreset', '-nolisten', 'tcp', '-novtswitch', '-sharevts', '-ac', '-logfile', path.join(home, 'xorg.log'), '-displayfd', '3'],
      {},
      ['ignore', 'ignore', 'ignore', 'pipe'],
    );
    const number = await new Promise((resolve) => xorg.stdio[3].once('data', (data) => resolve(String(data).trim())));
    const env = { DISPLAY: `:${number}` };
    start('openbox', [], env);
    const gimp = (...args) => start('dbus-run-session', ['--', 'gimp', '--no-splash', ...args], env);
    await gimp('-b', '(gimp-quit 1)').ended;

    const begun = performance.now();
    gimp();
    await until(() => mapped(env), 60_000, 20);
    let last;
    let since = performance.now();
    return await until(
      async () => {
        const now = performance.now();
        const picture = createHash('md5').update(await output('xwd', ['-root', '-silent'], env)).digest('hex');
        if (picture !== last) {
          last = picture;
          since = now;
          return null;
        }
        return now - since >= 200 ? since - begun : null;
      },
      60_000,
      20,
    );
  } finally {
    for (const child of children.reverse()) {
      child.kill('SIGTERM');
      await child.ended;
    }
    await rm(home, { recursive: true, force: true });
  }
}

async function mapped(env) {
  const windows = String(await output('xdotool', ['search', '--onlyvisible', '--class', 'gimp'], env)).trim().split('\n');
  for (const id of windows.filter(Boolean)) {
    if (String(await output('xprop', ['-id', id, 'WM_WINDOW_ROLE'], env)).includes('gimp-image-window')) return true;
  }
  return false;
}

function output(command, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'ignore'] });
    const chunks = [];
    child.stdout.on('data', (data) => chunks.push(data));
    child.once('error', reject);
    child.once('close', () => resolve(Buffer.concat(chunks)));
  });
}
