// The end of a run: what its servers shared goes.

import { rm } from 'node:fs/promises';

import { warmOf } from './platform.ts';

export default async function forgetWarm(): Promise<void> {
  await rm(warmOf(process.pid), { recursive: true, force: true });
}
