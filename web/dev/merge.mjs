// Interim: what the server describes already (given files in order), and the hand-written contract for the rest.
import { readFileSync, writeFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';
const docs = [new URL('./openapi.json', import.meta.url), new URL('../../openapi.json', import.meta.url), ...process.argv.slice(2)].map((p) => JSON.parse(readFileSync(p)));
const doc = docs.at(-1); const paths = {}, schemas = {}, missing = [];
for (const d of docs) { for (const [p, v] of Object.entries(d.paths)) paths[p] = { ...paths[p], ...v }; Object.assign(schemas, d.components.schemas); }
for (const [p, v] of Object.entries(docs[0].paths)) for (const m of Object.keys(v)) if (!docs.slice(1).some((d) => d.paths[p]?.[m])) missing.push(m + ' ' + p);
console.log('not described by the server:', missing.join(', '));
writeFileSync(new URL('../src/api/schema.d.ts', import.meta.url), '// Generated from openapi.json by `npm run api`. Do not edit.\n\n' + astToString(await openapiTS({ ...doc, paths, components: { ...doc.components, schemas } })));
