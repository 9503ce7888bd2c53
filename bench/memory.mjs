// Memory of a session that shows a photograph of 12 megapixels to one browser: agent and X server, and what else is in the
// sandbox. PSS, which counts shared memory in parts.

import { pause } from './lib/platform.mjs';
import { bringPhoto, openPhoto, story } from './lib/gimp.mjs';
import { table } from './lib/results.mjs';
import { compareWays } from './lib/ways.mjs';

// A session of its own for each: what one way made an agent allocate is no other's.
await compareWays({ name: 'memory', alone: true, prepare: bringPhoto, measure, print });

async function* measure(stage, transport) {
  if (!(await stage.show(transport))) return;
  await openPhoto(stage);
  await pause(5000);
  yield { when: 'photograph shown', memory: await stage.memory() };
  await story(stage).pan();
  yield { when: 'just moved', memory: await stage.memory() };
  await pause(15_000);
  yield { when: '15 s later', memory: await stage.memory() };
}

function print(results) {
  const mib = (value) => value.toFixed(1);
  table(
    ['way', 'when', 'agent and X server, MiB PSS', 'agent', 'X server', 'GIMP', 'others in the sandbox'],
    results.map(({ transport, when, memory: { agent, display, gimp, others } }) => [transport, when, mib(agent + display), mib(agent), mib(display), mib(gimp), mib(others)]),
  );
}
