import { defineConfig } from '@playwright/test';

// Each story has a server, a data directory and a real GIMP of its own; one at a time, so that they measure the
// platform and not the machine.
export default defineConfig({
  projects: [
    { name: 'stories', testDir: 'stories' },
    { name: 'newcomer', testDir: 'newcomer' },
    { name: 'kills', testDir: 'kills' },
  ],
  globalTeardown: './forget-warm.ts',
  workers: 1,
  fullyParallel: false,
  forbidOnly: Boolean(process.env['CI']),
  timeout: 150_000,
  expect: { timeout: 20_000 },
  reporter: [['list']],
  use: {
    browserName: 'chromium',
    viewport: { width: 1280, height: 800 },
    actionTimeout: 20_000,
    navigationTimeout: 20_000,
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
