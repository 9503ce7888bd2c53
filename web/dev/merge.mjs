// Interim: what the server describes already, and the hand-written contract for the rest.
import { readFileSync, writeFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';
const read = (p) => JSON.parse(readFileSync(new URL(p, import.meta.url)));
const hand = read('./openapi.json'), real = read('../../openapi.json');
const doc = { ...real, paths: { ...hand.paths, ...real.paths }, components: { ...real.components, schemas: { ...hand.components.schemas, ...real.components.schemas } } };
for (const [p, v] of Object.entries(hand.paths)) doc.paths[p] = { ...v, ...real.paths[p] };
writeFileSync(new URL('../src/api/schema.d.ts', import.meta.url), '// Generated from openapi.json by `npm run api`. Do not edit.\n\n' + astToString(await openapiTS(doc)));
