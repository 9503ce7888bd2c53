// Requests per second and latency of the API with 1000 fake sessions.

import autocannon from 'autocannon';
import { registerUser, startPlatform, usage } from './lib/platform.mjs';

const SESSIONS = 1000;
const seconds = Number(process.env.BENCH_SECONDS ?? 10);

const platform = await startPlatform(['--driver', 'fake', '--sessions-per-user', '16', '--session-limit', '2000']);
try {
  const users = [];
  for (let i = 0; i * 16 < SESSIONS; i++) users.push(await registerUser(platform.url, `load${i}@example.org`));
  const started = performance.now();
  let made = 0;
  await Promise.all(
    users.map(async (user) => {
      for (let i = 0; i < 16 && made < SESSIONS; i++) {
        made++;
        await user.api('POST', '/sessions', {});
      }
    }),
  );
  console.log(`| ${SESSIONS} sessions created | ${((performance.now() - started) / 1000).toFixed(1)} s |`);
  const session = (await users[0].api('GET', '/sessions')).sessions[0].id;
  for (const [name, route] of [
    ['GET /healthz', '/healthz'],
    ['GET /api/v1/users/profile', '/api/v1/users/profile'],
    ['GET /api/v1/sessions', '/api/v1/sessions'],
    ['GET /api/v1/sessions/{id}', `/api/v1/sessions/${session}`],
  ]) {
    const result = await autocannon({
      url: platform.url + route,
      connections: 32,
      duration: seconds,
      headers: { authorization: `Bearer ${users[0].token}` },
    });
    const ok = result['2xx'];
    const other = result.non2xx;
    console.log(
      `| ${name} | ${Math.round(ok / seconds)} /s | p50 ${result.latency.p50} ms, p99 ${result.latency.p99} ms | ${other} refused |`,
    );
  }
  const { pss } = await usage([platform.pid]);
  console.log(`| server memory with ${SESSIONS} fake sessions (their agents are in it) | ${pss.toFixed(0)} MiB PSS |`);
} finally {
  await platform.stop();
}
