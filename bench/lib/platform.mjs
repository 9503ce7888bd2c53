// Starts the platform for a benchmark on free ports with a data directory of its own, and ends it with SIGINT, which
// ends its sessions too; also when the benchmark itself is told to end.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const binaries = process.env.BENCH_BINARIES ?? path.join(root, 'target/release');

/** Builds nothing: `bench/run` did. Listens on an address of this machine. Resolves when /readyz answers 200. */
export async function startPlatform(extra = [], host = '127.0.0.1') {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'gimp-bench-'));
  const port = await freePort();
  const url = `http://${host}:${port}`;
  const metricsPort = await freePort();
  const child = spawn(
    path.join(binaries, 'gimp-platform'),
    ['serve', '--listen', `${host}:${port}`, '--metrics-listen', `127.0.0.1:${metricsPort}`, '--data-dir', dataDir, ...extra],
    { detached: true, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, GIMP_PLATFORM_BCRYPT_COST: '4', RUST_LOG: 'warn' } },
  );
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (log = (log + data).slice(-20_000)));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill('SIGINT');
    await exited;
    await rm(dataDir, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop().then(() => process.exit(1)));
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`the server ended:\n${log}`);
    return (await fetch(`${url}/readyz`).catch(() => null))?.ok;
  }, 120_000).catch(async (error) => {
    await stop();
    throw error;
  });
  return {
    url,
    metrics: `http://127.0.0.1:${metricsPort}`,
    dataDir,
    pid: child.pid,
    stop,
  };
}

/** Registers a user, from an `address` if a proxy is trusted; returns an authorised `api(method, path, body)`. */
export async function registerUser(url, email, address) {
  const headers = address && { 'x-forwarded-for': address };
  const answer = await json(url, 'POST', '/api/v1/auth/register', { email, password: 'a long bench password' }, undefined, headers);
  const api = (method, route, body) => json(url, method, `/api/v1${route}`, body, answer.accessToken);
  return { email, address, token: answer.accessToken, api };
}

async function json(url, method, route, body, token, headers) {
  const response = await fetch(url + route, {
    method,
    headers: { 'content-type': 'application/json', ...headers, ...(token && { authorization: `Bearer ${token}` }) },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${text}`);
  return text && JSON.parse(text);
}

export async function until(condition, limitMs, everyMs = 50) {
  const end = performance.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms`);
    await pause(everyMs);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** All descendants of a process, itself included. */
export async function tree(pid) {
  const found = [pid];
  for (let i = 0; i < found.length; i++) {
    const children = await readFile(`/proc/${found[i]}/task/${found[i]}/children`, 'utf8').catch(() => '');
    found.push(...children.split(' ').filter(Boolean).map(Number));
  }
  return found;
}

/** Name, and CPU seconds so far in user and kernel mode; null when it has ended. */
export async function processOf(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  if (!stat) return null;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { name: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')), cpu: (Number(fields[11]) + Number(fields[12])) / 100 };
}

/** Proportional set size in MiB and CPU seconds of some processes, with their names. */
export async function usage(pids) {
  let pss = 0;
  let cpu = 0;
  const byName = {};
  for (const pid of pids) {
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
    const found = await processOf(pid);
    if (!found) continue;
    const mib = Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0) / 1024;
    pss += mib;
    cpu += found.cpu;
    byName[found.name] = (byName[found.name] ?? 0) + mib;
  }
  return { pss, cpu, byName };
}

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/** "median (min-max)" of milliseconds. */
export function spread(values) {
  const of = (v) => (v / 1000).toFixed(2);
  return `${of(quantile(values, 0.5))} s (${of(Math.min(...values))}-${of(Math.max(...values))})`;
}
