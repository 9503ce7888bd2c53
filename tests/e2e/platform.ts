// The real server with the local driver, for one story: a port and a data directory of its own, its log kept, and
// nothing of it left afterwards.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

export const password = 'correct horse battery staple';

const program = process.env['PLATFORM_PROGRAM'] ?? join(import.meta.dirname, '../../target/debug/gimp-platform');
// No setting of the caller's.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('GIMP_PLATFORM_')));
const root = process.getuid?.() === 0;

/** Settings of `gimp-platform serve`, by their names in the settings file. */
export type Settings = Record<string, string | number>;

/** Polls until `look` gives something other than undefined, null or false; fails with `what` after `seconds`. */
export async function until<T>(
  what: string,
  look: () => T | undefined | null | false | Promise<T | undefined | null | false>,
  seconds = 20,
): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== null && value !== false) return value;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await pause(50);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Where the runner with this pid keeps GIMP's start-up caches: the first server that has made them gives them to the others. */
export const warmOf = (runner: number) => join(tmpdir(), `gimp-platform-e2e-warm-${runner}`);
const warm = warmOf(process.ppid);

export class Platform {
  readonly url: string;
  readonly folder: string;
  readonly #port: number;
  readonly #settings: Settings;
  #server: ChildProcess | null = null;
  #log = '';

  private constructor(folder: string, port: number, settings: Settings) {
    this.folder = folder;
    this.#port = port;
    this.#settings = settings;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(settings: Settings): Promise<Platform> {
    const folder = await mkdtemp(join(tmpdir(), 'gimp-platform-e2e-'));
    // Sessions of other uids pass through to their workspaces.
    await chmod(folder, 0o711);
    const platform = new Platform(folder, await freePort(), settings);
    await mkdir(platform.data, { mode: root ? 0o711 : 0o700 });
    if (existsSync(warm)) await cp(warm, join(platform.data, 'warm'), { recursive: true, preserveTimestamps: true });
    await platform.launch();
    return platform;
  }

  get data(): string {
    return join(this.folder, 'data');
  }

  /** Everything the server wrote so far, over all its starts. */
  get log(): string {
    return this.#log;
  }

  get pid(): number {
    const pid = this.#server?.pid;
    if (pid === undefined) throw new Error('the server does not run');
    return pid;
  }

  /** Starts the server and waits until it is ready. */
  async launch(change: Settings = {}): Promise<void> {
    const settings: Settings = {
      listen: `127.0.0.1:${this.#port}`,
      data_dir: this.data,
      metrics_listen: 'off',
      // The least bcrypt can do.
      bcrypt_cost: 4,
      ...this.#settings,
      ...change,
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name.replaceAll('_', '-')}`, `${value}`]);
    const server = spawn(program, ['serve', ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...environment, NO_COLOR: '1' },
    });
    this.#server = server;
    for (const stream of [server.stdout, server.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => (this.#log += text));
    }
    await until('the server is ready', async () => {
      if (server.exitCode !== null || server.signalCode !== null) throw new Error(`the server ended:\n${this.#log}`);
      try {
        return (await fetch(`${this.url}/readyz`)).ok;
      } catch {
        return false;
      }
    }, 60);
  }

  /** Sends a signal and waits for the server's end. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#server;
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    const gone = new Promise((resolve) => server.once('exit', resolve));
    server.kill(signal);
    const timer = setTimeout(() => server.kill('SIGKILL'), 60_000);
    await gone;
    clearTimeout(timer);
    if (signal !== 'SIGKILL' && server.signalCode === 'SIGKILL') {
      throw new Error(`the server did not end within 60 s after ${signal}:\n${this.#log}`);
    }
    this.#server = null;
  }

  /** Ends the sessions and the server, and proves that nothing is left. Gives the lines of the log that are our bugs. */
  async stop(): Promise<string[]> {
    await this.end('SIGINT');
    const problems = this.#log.split('\n').filter((line) => /\bERROR\b|panicked at/.test(line));
    const left = () => processes().filter(({ cmdline, environ }) => `${cmdline} ${environ}`.includes(this.folder));
    // What the server killed ends a moment after it.
    const patience = Date.now() + 10_000;
    while (left().length > 0 && Date.now() < patience) await pause(20);
    for (const { pid, cmdline } of left()) {
      problems.push(`left running: ${cmdline.slice(0, 40)} … ${cmdline.slice(-160)}`);
      process.kill(pid, 'SIGKILL');
    }
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(`${this.folder}/`));
    for (const path of mounts.reverse()) {
      problems.push(`left mounted: ${path}`);
      spawnSync('umount', ['--lazy', path]);
    }
    await this.#keepWarm();
    await rm(this.folder, { recursive: true, force: true });
    return problems;
  }

  async #keepWarm(): Promise<void> {
    const made = join(this.data, 'warm');
    const unfinished = (path: string) => basename(path).startsWith('.new-');
    if (existsSync(warm) || readdirSync(made).every(unfinished)) return;
    await cp(made, warm, { recursive: true, preserveTimestamps: true, filter: (path) => !unfinished(path) });
  }

  /** The workspace of a user on disk. */
  workspace(userId: string): string {
    return join(this.data, 'workspaces', userId);
  }

  /** Processes of a session with such a name. */
  processesOf(session: string, name: RegExp): Process[] {
    const { pid } = JSON.parse(readFileSync(join(this.data, 'run', session, 'sandbox.json'), 'utf8')).init;
    const space = readlinkSync(`/proc/${pid}/ns/pid`);
    return processes().filter((found) => {
      try {
        return name.test(found.name) && readlinkSync(`/proc/${found.pid}/ns/pid`) === space;
      } catch {
        return false;
      }
    });
  }

  /** Process id of the GIMP of a session. */
  gimpOf(session: string): number {
    const [gimp] = this.processesOf(session, /^gimp(-\d|$)/);
    if (!gimp) throw new Error('the session has no GIMP');
    return gimp.pid;
  }

  /** An API client with a bearer token. */
  async signIn(email: string): Promise<Api> {
    const answer = await new Api(this.url).post('/auth/login', { email, password });
    return new Api(this.url, answer.accessToken);
  }

  async register(email: string): Promise<Api> {
    const answer = await new Api(this.url).post('/auth/register', { email, password });
    return new Api(this.url, answer.accessToken);
  }
}

export interface Process {
  pid: number;
  parent: number;
  name: string;
  cmdline: string;
  environ: string;
}

/** Every process of this machine. */
export function processes(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8').replaceAll('\0', ' ').trim();
      try {
        // proc_pid_stat(5): the name in parentheses, the state, the parent.
        const parent = Number(/.*\) \S (\d+)/s.exec(read('stat'))?.[1]);
        return [{ pid: Number(pid), parent, name: read('comm'), cmdline: read('cmdline'), environ: environOf(read) }];
      } catch {
        return [];
      }
    });
}

/** Closed to an ordinary user where a process has more rights than they, as bubblewrap's own have in a sandbox. */
function environOf(read: (file: string) => string): string {
  try {
    return read('environ');
  } catch {
    return '';
  }
}

/** What the REST API refused. */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(`${status} ${code}: ${detail}`);
    this.status = status;
    this.code = code;
  }
}

/** The REST API as a program uses it. Answers are what `docs/architecture.md` says. */
export class Api {
  readonly url: string;
  readonly token: string | undefined;

  constructor(url: string, token?: string) {
    this.url = url;
    this.token = token;
  }

  // biome-ignore lint/suspicious/noExplicitAny: the stories assert on what they use.
  async request(method: string, path: string, body?: unknown): Promise<any> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        ...(this.token ? { authorization: `Bearer ${this.token}` } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) {
      const problem = text.startsWith('{') ? JSON.parse(text) : {};
      throw new Refused(response.status, problem.code ?? '', problem.detail ?? text);
    }
    return text === '' ? undefined : JSON.parse(text);
  }

  get = (path: string) => this.request('GET', path);
  post = (path: string, body: unknown = {}) => this.request('POST', path, body);
  put = (path: string, body: unknown) => this.request('PUT', path, body);
  delete = (path: string) => this.request('DELETE', path);

  /** Status of a raw GET, for bytes. */
  async status(path: string): Promise<number> {
    const response = await fetch(`${this.url}/api/v1${path}`, { headers: { authorization: `Bearer ${this.token}` } });
    await response.body?.cancel();
    return response.status;
  }
}
