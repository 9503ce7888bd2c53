// Fails when the script a page needs before the session view grows past its budget. Run after `npm run build`.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const BUDGET = 200_000;
const dist = new URL('../dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'));

/** The chunks that `entry` loads at once, and itself. */
function closure(entry, found = new Set()) {
  if (!found.has(entry)) {
    found.add(entry);
    for (const next of manifest[entry].imports ?? []) closure(next, found);
  }
  return found;
}

function weigh(entries) {
  let raw = 0;
  let gzip = 0;
  for (const entry of entries) {
    const script = readFileSync(new URL(manifest[entry].file, dist));
    raw += script.length;
    gzip += gzipSync(script).length;
  }
  return { raw, gzip };
}

const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
const first = closure('index.html');
const session = closure('src/app/pages/Session.svelte');
// Every page but the session's may be seen before it.
const before = new Set(first);
for (const page of manifest['index.html'].dynamicImports ?? []) {
  if (page !== 'src/app/pages/Session.svelte') closure(page, before);
}

const rows = {
  'first page': weigh(first),
  'all pages before the session view': weigh(before),
  'session view on top': weigh([...session].filter((entry) => !before.has(entry))),
};
for (const [name, { raw, gzip }] of Object.entries(rows)) console.log(`${name}: ${kB(raw)} (${kB(gzip)} gzip)`);

const used = rows['all pages before the session view'].raw;
if (used > BUDGET) {
  console.error(`Before the session view there may be ${kB(BUDGET)} of script, there are ${kB(used)}.`);
  process.exit(1);
}
