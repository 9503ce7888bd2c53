// Memory of a session that shows a photograph of 12 megapixels to one browser: agent and X server, and what else is in the
// sandbox. PSS, which counts shared memory in parts.

import { pause, startPlatform } from './lib/platform.mjs';
import { bringPhoto, openPhoto, story } from './lib/gimp.mjs';
import { keep, sizes, table, tell, transports } from './lib/results.mjs';
import { launch, openStage } from './lib/stage.mjs';

const results = [];

const platform = await startPlatform();
const browser = await launch();
try {
  for (const size of sizes('1920x1080')) {
    for (const transport of transports()) {
      // A session of its own: what one way made an agent allocate is no other's.
      const stage = await openStage(browser, platform, size);
      await bringPhoto(stage);
      if (await stage.show(transport)) {
        await openPhoto(stage);
        await pause(5000);
        await report({ size, transport, when: 'photograph shown' }, stage);
        await story(stage).pan();
        await report({ size, transport, when: 'just moved' }, stage);
        await pause(15_000);
        await report({ size, transport, when: '15 s later' }, stage);
      }
      await stage.close();
    }
  }
} finally {
  await browser.close();
  await platform.stop();
}
const mib = (value) => value.toFixed(1);
table(
  ['way', 'when', 'agent and X server, MiB PSS', 'agent', 'X server', 'GIMP', 'others in the sandbox'],
  results.map(({ transport, when, memory: { agent, display, gimp, others } }) => [transport, when, mib(agent + display), mib(agent), mib(display), mib(gimp), mib(others)]),
);
await keep('memory', results);

async function report(row, stage) {
  row.memory = await stage.memory();
  results.push(row);
  tell(row);
}
