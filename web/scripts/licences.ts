// Vite plugin: `licences.txt` beside the pages, with the licences of the packages whose code is in them, as these ask for.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import type { Plugin } from 'vite';

/** Folders below node_modules, each with a licence of its own. */
const PACKAGES = ['@novnc/novnc', '@novnc/novnc/vendor/pako', 'zstddec', 'svelte', 'openapi-fetch'];
const MODULES = fileURLToPath(new URL('../node_modules/', import.meta.url));

export function licences(): Plugin {
  return {
    name: 'licences',
    apply: 'build',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: PACKAGES.map(section).join('\n') });
    },
  };
}

function section(name: string): string {
  const folder = `${MODULES}${name}`;
  const file = existsSync(folder) ? readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry)) : undefined;
  if (!file) throw new Error(`no licence in ${folder}`);
  const rule = '='.repeat(72);
  return `${rule}\n${name}\n${rule}\n\n${readFileSync(`${folder}/${file}`, 'utf8').trim()}\n`;
}
