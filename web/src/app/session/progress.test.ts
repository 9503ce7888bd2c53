import { expect, test } from 'vitest';

import type { Session } from '../../api';
import { mayFollow } from './progress';

type Part = Pick<Session, 'status' | 'step' | 'stage'>;

const life: Part[] = [
  { status: 'starting', step: null, stage: null },
  { status: 'starting', step: 'creatingWorkspace', stage: null },
  { status: 'starting', step: 'startingGimp', stage: null },
  { status: 'running', step: 'ready', stage: null },
  { status: 'running', step: 'ready', stage: 'save' },
  { status: 'running', step: 'ready', stage: 'display' },
  { status: 'stopped', step: 'ready', stage: null },
];

test('a session goes forward only', () => {
  for (const [at, earlier] of life.entries()) {
    for (const [then, later] of life.entries()) expect(mayFollow(earlier, later)).toBe(then >= at);
  }
});

test('a failed start is an end', () => {
  const failed: Part = { status: 'error', step: 'startingDisplay', stage: null };
  expect(mayFollow({ status: 'starting', step: 'startingDisplay', stage: null }, failed)).toBe(true);
  expect(mayFollow(failed, { status: 'starting', step: 'startingGimp', stage: null })).toBe(false);
});
