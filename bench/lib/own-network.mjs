// A network of its own for a benchmark: on its loopback is nothing but what server and browser say to each other, so that
// every byte of the wire is counted, whatever carries it, headers and acknowledgements too. Needs root.

import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

const MARK = 'BENCH_OWN_NETWORK';

/** Goes on in a network namespace: runs this script anew there, and does not return here. Without root: false. */
export async function enterOwnNetwork() {
  if (process.env[MARK]) {
    // An address that is not loopback: browsers make no WebRTC candidates without one.
    for (const command of ['link set lo up', 'link add own0 type veth peer name own1', 'addr add 10.79.0.1/24 dev own0', 'link set own0 up', 'link set own1 up']) {
      execFileSync('ip', command.split(' '));
    }
    return true;
  }
  if (process.getuid() !== 0) return false;
  const child = spawn('unshare', ['--net', process.execPath, ...process.argv.slice(1)], { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  process.exit(await new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1))));
}

/** Bytes so far on this network's loopback; null outside of `enterOwnNetwork`. */
export function wireBytes() {
  if (!process.env[MARK]) return null;
  return Number(/^\s*lo:\s*(\d+)/m.exec(readFileSync('/proc/net/dev', 'utf8'))[1]);
}

/** What the bytes are that a stage counts. */
export const countedBytes = () => (process.env[MARK] ? 'of the wire' : 'through the gateway');
