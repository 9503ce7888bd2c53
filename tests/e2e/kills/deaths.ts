// The ways in which a session's parts die, and what may be expected after each.

import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { type Api, type Platform, until } from '../platform.ts';

/** Where a death happens. */
export interface Scene {
  platform: Platform;
  api: Api;
  session: string;
  workspace: string;
}

export interface Death {
  name: string;
  /**
   * - `keeps`: GIMP and what is open in it live on
   * - `wanted`: all that was seen is in a copy
   * - `sudden`: what is older than promised is in a copy
   */
  after: 'keeps' | 'wanted' | 'sudden';
  /** Only root may do it. */
  root?: boolean;
  /** Half of the time before. */
  prepare?: (scene: Scene) => void;
  strike: (scene: Scene) => Promise<void> | void;
}

const gimp: Of = ({ platform, session }) => platform.gimpOf(session);
const display: Of = ({ platform, session }) => only(platform.processesOf(session, /^X(org|vnc)/));
const guard: Of = (scene) => only(agents(scene).filter(({ parent }, _, all) => !all.some(({ pid }) => pid === parent)));
const agent: Of = (scene) => only(agents(scene).filter(({ parent }) => parent === guard(scene)));
const sandbox: Of = ({ platform, session }) => JSON.parse(readFileSync(join(platform.data, 'run', session, 'sandbox.json'), 'utf8')).init.pid;

type Of = (scene: Scene) => number;

function only(found: { pid: number }[]): number {
  if (found.length !== 1) throw new Error(`${found.length} processes where one should be`);
  return found[0]!.pid;
}

const agents = ({ platform, session }: Scene) => platform.processesOf(session, /^gimp-session$/);

const signal = (name: string, of: Of, signal: NodeJS.Signals, after: Death['after']): Death => ({
  name: `${name} ${signal}`,
  after,
  strike: (scene) => void process.kill(of(scene), signal),
});

const server = (signal: NodeJS.Signals, after: Death['after']): Death => ({
  name: `server ${signal}`,
  after,
  strike: async ({ platform }) => {
    await platform.end(signal);
    await platform.launch();
  },
});

export const deaths: Death[] = [
  signal('gimp', gimp, 'SIGKILL', 'sudden'),
  signal('gimp', gimp, 'SIGTERM', 'sudden'),
  signal('display', display, 'SIGKILL', 'sudden'),
  signal('display', display, 'SIGTERM', 'sudden'),
  signal('agent', agent, 'SIGKILL', 'keeps'),
  signal('agent', agent, 'SIGTERM', 'wanted'),
  signal('guard', guard, 'SIGKILL', 'wanted'),
  signal('guard', guard, 'SIGTERM', 'wanted'),
  signal('sandbox', sandbox, 'SIGKILL', 'sudden'),
  server('SIGKILL', 'keeps'),
  server('SIGTERM', 'keeps'),
  server('SIGINT', 'wanted'),
  {
    name: 'memory limit',
    after: 'sudden',
    root: true,
    strike: async (scene) => {
      const pid = gimp(scene);
      // As if it were GIMP that asked for too much.
      writeFileSync(`/proc/${pid}/oom_score_adj`, '1000');
      const glutton = spawn('perl', ['-e', 'open my $f, ">", shift or die; print $f $$; close $f; push @all, "x" x 8388608 while 1', groupFile(pid)], { stdio: 'ignore' });
      try {
        await until('GIMP is killed for its memory', () => !lives(pid), 60);
      } finally {
        glutton.kill('SIGKILL');
      }
    },
  },
  {
    name: 'disk full, then gimp SIGKILL',
    after: 'sudden',
    root: true,
    prepare: ({ workspace }) => fill(workspace),
    strike: (scene) => void process.kill(gimp(scene), 'SIGKILL'),
  },
  {
    name: 'time-out',
    after: 'wanted',
    strike: async ({ api, session }) => {
      await until('the time is over', async () => (await api.get(`/sessions/${session}`)).endedAt, 90);
    },
  },
  {
    name: 'end by its user',
    after: 'wanted',
    strike: ({ api, session }) => api.delete(`/sessions/${session}`),
  },
];

const fillers = ['filler', 'rest'];

/** Takes all room of the workspace. */
function fill(workspace: string): void {
  const { bavail, bsize } = statfsSync(workspace);
  // Not written: the disk below the image stays as it is.
  const taken = spawnSync('fallocate', ['--length', `${Math.max(0, bavail - 64) * bsize}`, join(workspace, fillers[0]!)]);
  if (taken.status !== 0) throw new Error(`cannot fill the workspace: ${taken.stderr}`);
  try {
    for (;;) appendFileSync(join(workspace, fillers[1]!), Buffer.alloc(4096));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

export function makeRoom({ workspace }: Scene): void {
  for (const filler of fillers) rmSync(join(workspace, filler), { force: true });
}

function lives(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Where a process joins the control group that limits another's memory. */
function groupFile(pid: number): string {
  for (const line of readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line)!;
    if (controllers!.split(',').includes('memory')) return `/sys/fs/cgroup/memory${path}/cgroup.procs`;
  }
  const [, path] = /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))!;
  return `/sys/fs/cgroup${path}/cgroup.procs`;
}

/** Keeps a session from running out of time until told to stop. */
export function keepAlive({ api, session }: Scene): () => void {
  let stopped = false;
  const extending = async () => {
    while (!stopped) {
      // The server may be away just now.
      await api.post(`/sessions/${session}/extend`).catch(() => {});
      for (let waited = 0; waited < 15_000 && !stopped; waited += 100) await pause(100);
    }
  };
  void extending();
  return () => (stopped = true);
}
