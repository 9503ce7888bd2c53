// An X server without a screen (Xorg, dummy driver) for what is measured beside the platform, and a window manager on it.

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

// Timings are of no consequence without a screen, but a mode must have some.
const config = ({ width, height, vnc }) => `
Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoAddGPU" "false"
EndSection
Section "Module"
  Disable "glx"
  ${vnc ? 'Load "vnc"' : ''}
EndSection
Section "Device"
  Identifier "gpu"
  Driver "dummy"
  VideoRam 262144
EndSection
Section "Monitor"
  Identifier "monitor"
  HorizSync 1-1000
  VertRefresh 1-1000
  Modeline "${width}x${height}" 100 ${width} ${width + 10} ${width + 20} ${width + 30} ${height} ${height + 3} ${height + 6} ${height + 9}
EndSection
Section "Screen"
  Identifier "screen"
  Device "gpu"
  Monitor "monitor"
  DefaultDepth 24
  ${vnc ? 'Option "SecurityTypes" "None"\n  Option "rfbport" "-1"' : ''}
  SubSection "Display"
    Depth 24
    Modes "${width}x${height}"
    Virtual ${width} ${height}
  EndSubSection
EndSection
`;

/** Starts it; `vnc`: with TigerVNC's module, as sessions have it. `start` runs a program on it; `stop` ends them all. */
export async function startDisplay({ width, height, vnc = false }) {
  const home = await mkdtemp(path.join(tmpdir(), 'bench-display-'));
  const children = [];
  const start = (command, args, env, stdio = 'ignore') => {
    const child = spawn(command, args, { stdio, env: { PATH: process.env.PATH, HOME: home, LANG: 'C.UTF-8', ...env } });
    child.ended = new Promise((resolve) => child.once('exit', resolve));
    children.push(child);
    return child;
  };
  const stop = async () => {
    for (const child of children.reverse()) {
      child.kill('SIGTERM');
      await child.ended;
    }
    await rm(home, { recursive: true, force: true });
  };
  await writeFile(path.join(home, 'xorg.conf'), config({ width, height, vnc }));
  await mkdir(path.join(home, 'empty'));
  const xorg = start(
    '/usr/lib/xorg/Xorg',
    ['-config', path.join(home, 'xorg.conf'), '-configdir', path.join(home, 'empty'), '-noreset', '-nolisten', 'tcp', '-novtswitch', '-sharevts', '-ac', '-logfile', path.join(home, 'xorg.log'), '-displayfd', '3'],
    {},
    ['ignore', 'ignore', 'ignore', 'pipe'],
  );
  const number = await new Promise((resolve, reject) => {
    xorg.stdio[3].once('data', (data) => resolve(String(data).trim()));
    xorg.once('exit', () => reject(new Error('the X server did not start')));
  });
  const name = `:${number}`;
  const env = { DISPLAY: name };
  start('openbox', [], env);
  return { name, width, height, env, start: (command, args) => start(command, args, env), stop };
}
