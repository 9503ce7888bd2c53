// What the UDP forwarder costs and adds, by crates/server/examples/udp.rs.

import { execFileSync } from 'node:child_process';

const binaries = process.env.BENCH_BINARIES ?? new URL('../target/release', import.meta.url).pathname;
const result = JSON.parse(execFileSync(`${binaries}/examples/udp`, { encoding: 'utf8' }));

const number = (value) => value.toLocaleString('en-US');
const { direct, forwarded } = result.latency;
console.log(`| what | value |
| --- | --- |`);
for (const [name, part] of [
  ['agents to browsers, as fast as it goes', result.down],
  [`agents to browsers, ${result.sessions} sessions of 14 Mbit/s at 60 pictures a second`, result.pacedDown],
  ['browsers to agents', result.up],
]) {
  const core = `${(part.processor * 100).toFixed(0)} % of a core`;
  console.log(
    `| ${name} | ${number(part.datagramsPerSecond)} /s with ${core}: ${part.microsecondsPerDatagram} us each, ${number(part.datagramsPerSecondAndCore)} /s and core |`,
  );
}
console.log(`| there and back, nothing between | p50 ${direct.p50Us} us, p99 ${direct.p99Us} us |
| there and back, through the forwarder | p50 ${forwarded.p50Us} us, p99 ${forwarded.p99Us} us |`);
