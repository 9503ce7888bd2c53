import { fileURLToPath } from 'node:url';

import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

import { licences } from './scripts/licences.ts';
import { tileWasm } from './wasm/plugin.ts';

/** Where `npm run dev` and `npm run preview` find a running platform. */
const platform = process.env.GIMP_PLATFORM_URL ?? 'http://127.0.0.1:8080';

// The server only takes changes that come from its own origin.
const headers = { origin: new URL(platform).origin };
const proxy = {
  '/api': { target: platform, changeOrigin: true, headers },
  '^/session/[^/]+/(stream|vnc)$': { target: platform, changeOrigin: true, ws: true, headers },
};

// As the server's pages have them: without, workers share no memory with the page, and the stream takes its slower way.
const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };

export default defineConfig({
  resolve: {
    // Its package exports the whole client only.
    alias: { 'novnc-core': fileURLToPath(new URL('node_modules/@novnc/novnc/core', import.meta.url)) },
  },
  plugins: [svelte(), tileWasm(), licences()],
  worker: { format: 'es', plugins: () => [tileWasm()] },
  build: {
    target: 'es2022',
    // The content security policy has no room for inline scripts, and hashed files cache better than data URLs.
    assetsInlineLimit: 0,
    manifest: true,
    // On a slow machine it warns how long its plug-ins took: nothing for whoever just runs ./run.
    rolldownOptions: { checks: { bundlerTimings: false } },
  },
  server: { proxy, headers: isolation },
  preview: { proxy, headers: isolation },
  test: {
    include: ['src/**/*.test.ts'],
    environment: 'node',
    // Random tests take a second, and ten on a machine that is building something else.
    testTimeout: 30_000,
  },
});
