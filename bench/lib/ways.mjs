// The course of every benchmark of the picture: a platform, a browser, sessions, each way to them in turn; then what was
// found, as a table and as JSON. What was started is ended, whatever fails.

import { enterOwnNetwork } from './own-network.mjs';
import { startPlatform } from './platform.mjs';
import { keep, sizes, tell, transports } from './results.mjs';
import { launch, openStage } from './stage.mjs';

/**
 * `measure(stage, transport, round)` gives rows, none where `stage.show` says that this build does not offer the transport;
 * `print(results)` gets them all, each with its size and transport. The environment may name other sizes and transports.
 *
 * - `bytes`: they are counted, in a network of its own where that is possible
 * - `address`: of this machine, where the platform listens
 * - `inBrowser(size, use, platform)`: starts a browser for that size, has it used, and ends it
 * - `floor(browser, size)`: gives rows of what no platform is needed for
 * - `alone`: each transport has a session of its own
 * - `prepare(stage)`: once for each session
 * - `rounds`: what every transport is measured for, before the next
 */
export async function compareWays({
  name,
  usualSizes = '1920x1080',
  usualTransports,
  bytes = false,
  address,
  inBrowser = headless,
  floor = nothing,
  alone = false,
  prepare = nothing,
  rounds = [null],
  measure,
  print,
}) {
  if (bytes) await enterOwnNetwork();
  const results = [];
  const collect = async (rows, from) => {
    for await (const row of rows) {
      results.push({ ...from, ...row });
      tell(results.at(-1));
    }
  };
  const ways = transports(usualTransports);
  const platform = await startPlatform([], address);
  try {
    for (const size of sizes(usualSizes)) {
      const use = async (browser) => {
        await collect(floor(browser, size), { size, transport: 'floor' });
        for (const together of alone ? ways.map((way) => [way]) : [ways]) {
          const stage = await openStage(browser, platform, size);
          await prepare(stage);
          for (const round of rounds) {
            for (const transport of together) await collect(measure(stage, transport, round), { size, transport });
          }
          await stage.close();
        }
      };
      await inBrowser(size, use, platform);
    }
  } finally {
    await platform.stop();
  }
  print(results);
  await keep(name, results);
  return results;
}

export async function headless(_size, use, _platform, options) {
  await useThenEnd(await launch(options), use, (browser) => browser.close());
}

/** Ends it also when using it fails. */
export async function useThenEnd(thing, use, end) {
  try {
    return await use(thing);
  } finally {
    await end(thing);
  }
}

async function* nothing() {}
