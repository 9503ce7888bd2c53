// Generates src/api/schema.d.ts from the server's OpenAPI (openapi.json in the repository's root).
// --check only says whether the committed file is up to date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';

const source = new URL('../../openapi.json', import.meta.url);
const target = new URL('../src/api/schema.d.ts', import.meta.url);
const header = '// Generated from openapi.json by `npm run api`. Do not edit.\n\n';

const wanted = header + astToString(await openapiTS(JSON.parse(readFileSync(source, 'utf8'))));

if (!process.argv.includes('--check')) {
  writeFileSync(target, wanted);
} else if (!existsSync(target) || readFileSync(target, 'utf8') !== wanted) {
  console.error('src/api/schema.d.ts is not what openapi.json says: run `npm run api` and commit the result.');
  process.exit(1);
}
