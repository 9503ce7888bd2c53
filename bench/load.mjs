// Requests per second and latency of the API with 1000 fake sessions.

import autocannon from 'autocannon';
import { registerUser, startPlatform, usage } from './lib/platform.mjs';

const SESSIONS = 1000;
const seconds = Number(process.env.BENCH_SECONDS ?? 10);

const memory = async () => (await usage([platform.pid])).pss.toFixed(0);
const platform = await startPlatform(['--driver', 'fake', '--sessions-per-user', '16', '--session-limit', '2000', '--trusted-proxies', '127.0.0.1/32']);
try {
  const users = [];
  // From addresses of their own, as through a proxy: one address may register 60 users in an hour.
  for (let i = 0; i * 16 < SESSIONS; i++) users.push(await registerUser(platform.url, `load${i}@example.org`, `192.0.2.${i}`));
  const fresh = await memory();
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
  const full = await memory();
  for (const [name, route] of [
    ['GET /healthz', '/healthz'],
    ['GET /api/v1/users/profile', '/api/v1/users/profile'],
    ['GET /api/v1/sessions', '/api/v1/sessions'],
  ]) {
    // Each connection is another user at another address: requests of one are limited.
    let next = 0;
    const result = await autocannon({
      url: platform.url + route,
      connections: users.length,
      duration: seconds,
      setupClient(client) {
        const user = users[next++ % users.length];
        client.setHeaders({ authorization: `Bearer ${user.token}`, 'x-forwarded-for': user.address });
      },
    });
    const ok = result['2xx'];
    const other = result.non2xx;
    console.log(
      `| ${name} | ${Math.round(ok / seconds)} /s | p50 ${result.latency.p50} ms, p99 ${result.latency.p99} ms | ${other} refused |`,
    );
  }
  console.log(`| server memory: before / with ${SESSIONS} fake sessions, whose agents are in it / after these requests | ${fresh} / ${full} / ${await memory()} MiB PSS |`);
} finally {
  await platform.stop();
}
