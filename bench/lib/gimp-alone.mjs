// GIMP by itself in the same kind of X server (Xorg, dummy screen, TigerVNC's module, openbox), with its caches made by
// one earlier start and clean quit: the floor that a session's start is compared with.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { startDisplay } from './display.mjs';
import { until } from './platform.mjs';

/** Milliseconds from exec to the last repaint of the mapped main window (200 ms of quiet after it). */
export async function gimpAlone() {
  const { env, start, stop } = await startDisplay({ width: 1280, height: 800, vnc: true });
  try {
    const gimp = (...args) => start('dbus-run-session', ['--', 'gimp', '--no-splash', ...args]);
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
    await stop();
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
