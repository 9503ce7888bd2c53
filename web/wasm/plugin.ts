// Vite plugin: `virtual:tile-wasm` holds the two WebAssembly modules of the picture stream's tiles as base64. In the
// script rather than beside it, because a page whose policy keeps it from fetching `data:` addresses can still load them.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import asc from 'assemblyscript/asc';
import type { Plugin } from 'vite';

const ID = 'virtual:tile-wasm';
const SOURCE = fileURLToPath(new URL('unfilter.ts', import.meta.url));

export function tileWasm(): Plugin {
  return {
    name: 'tile-wasm',
    resolveId: (id) => (id === ID ? `\0${ID}` : undefined),
    async load(id) {
      if (id !== `\0${ID}`) return undefined;
      this.addWatchFile(SOURCE);
      const unfilter = Buffer.from(await compiled()).toString('base64');
      return `export const zstd = '${zstd()}';\nexport const unfilter = '${unfilter}';`;
    },
  };
}

/**
 * The decoder inside of the package `zstddec`. Its own wrapper fetches a `data:` address, which our policy forbids, copies
 * twice and does not tell a failure.
 */
function zstd(): string {
  const path = createRequire(import.meta.url).resolve('zstddec');
  const found = /"(AGFzbQ[A-Za-z0-9+/=]+)"/.exec(readFileSync(path, 'utf8'))?.[1];
  if (!found) throw new Error(`no WebAssembly in ${path}`);
  return found;
}

async function compiled(): Promise<Uint8Array> {
  let binary: Uint8Array | null = null;
  const { error, stderr } = await asc.main(
    [SOURCE, '--outFile', 'unfilter.wasm', '--runtime', 'stub', '--importMemory', '--enable', 'simd', '-O3', '--noAssert'],
    {
      writeFile: (name, contents) => {
        if (name === 'unfilter.wasm' && typeof contents !== 'string') binary = contents;
      },
    },
  );
  if (error || !binary) throw new Error(`${SOURCE} does not compile: ${stderr.toString()}`);
  return binary;
}
