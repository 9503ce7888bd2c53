// What a session costs and how many are usable at once: memory and idle CPU of one session and of the server, then ten
// sessions painting at once on this machine.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Rfb } from './lib/rfb.mjs';
import { pause, quantile, registerUser, startPlatform, tree, until, usage } from './lib/platform.mjs';

const SESSIONS = Number(process.env.BENCH_SESSIONS ?? 10);
const idleSeconds = Number(process.env.BENCH_IDLE_SECONDS ?? 60);

const platform = await startPlatform(['--session-limit', String(SESSIONS)]);
try {
  const fresh = await usage([platform.pid]);
  const users = [];
  for (let i = 0; i < SESSIONS; i++) users.push(await registerUser(platform.url, `many${i}@example.org`));

  users[0].session = await startSession(users[0]);
  await pause(5_000);
  const pids = await processes(users[0].session);
  const before = await usage(pids);
  const serverBefore = await usage([platform.pid]);
  await pause(idleSeconds * 1000);
  const after = await usage(pids);
  const serverAfter = await usage([platform.pid]);
  console.log('| what | value |\n| --- | --- |');
  console.log(`| server memory, just started / with one session | ${fresh.pss.toFixed(0)} / ${serverAfter.pss.toFixed(0)} MiB PSS |`);
  console.log(`| session memory | ${after.pss.toFixed(0)} MiB PSS: ${parts(after.byName)} |`);
  console.log(`| idle session, CPU in ${idleSeconds} s | ${((after.cpu - before.cpu) * 1000).toFixed(0)} ms |`);
  console.log(`| server beside an idle session, CPU in ${idleSeconds} s | ${((serverAfter.cpu - serverBefore.cpu) * 1000).toFixed(0)} ms |`);
  const one = await paint(users[0]);
  console.log(`| one session: pointer to changed picture | ${figures(one)} |`);

  const begun = performance.now();
  await Promise.all(users.slice(1).map(async (user) => (user.session = await startSession(user))));
  console.log(`| ${SESSIONS - 1} more sessions started at once, all ready after | ${((performance.now() - begun) / 1000).toFixed(1)} s |`);
  const all = await Promise.all(users.map(paint));
  console.log(`| ${SESSIONS} sessions in use at once: pointer to changed picture | ${figures(all.flat())} |`);
  console.log(`| worst session's median | ${Math.max(...all.map((times) => quantile(times, 0.5))).toFixed(0)} ms |`);
  let total = 0;
  for (const user of users) total += (await usage(await processes(user.session))).pss;
  console.log(`| ${SESSIONS} sessions, memory in all | ${total.toFixed(0)} MiB PSS |`);
} finally {
  await platform.stop();
}

async function startSession(user) {
  const { id } = await user.api('POST', '/sessions', { screen: { width: 1280, height: 800, scale: 1 } });
  await until(async () => {
    const session = await user.api('GET', `/sessions/${id}`);
    if (session.endedAt) throw new Error(`session ended: ${session.endReason} ${session.endDetail}`);
    return session.status === 'running';
  }, 120_000);
  return id;
}

async function processes(session) {
  const sandbox = JSON.parse(await readFile(path.join(platform.dataDir, 'run', session, 'sandbox.json'), 'utf8'));
  return tree(sandbox.init.pid);
}

// Hovers along the tool box, whose buttons light up: each step must change the picture. Milliseconds from the pointer
// message to the framebuffer update.
async function paint(user) {
  const rfb = await Rfb.connect(`${platform.url.replace('http', 'ws')}/session/${user.session}/vnc`, user.token);
  rfb.request(false);
  await rfb.update();
  const times = [];
  for (let i = 0; i < 40; i++) {
    rfb.request(true);
    const begun = performance.now();
    rfb.pointer(20 + (i % 2) * 40, 70, 0);
    const update = rfb.update();
    const answered = await Promise.race([update, pause(2_000).then(() => null)]);
    if (answered === null) {
      times.push(2_000);
      await update;
    } else times.push(performance.now() - begun);
    await pause(100);
  }
  rfb.close();
  return times;
}

function figures(times) {
  return `p50 ${quantile(times, 0.5).toFixed(0)} ms, p95 ${quantile(times, 0.95).toFixed(0)} ms`;
}

function parts(byName) {
  return Object.entries(byName)
    .filter(([, mib]) => mib >= 1)
    .sort(([, a], [, b]) => b - a)
    .map(([name, mib]) => `${name} ${mib.toFixed(0)}`)
    .join(', ');
}
