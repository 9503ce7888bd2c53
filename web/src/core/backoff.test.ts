import { expect, test } from 'vitest';

import { backoff } from './backoff';

const limits = { first: 400, longest: 8_000 };

test('waits double up to the longest', () => {
  const whole = (failures: number) => backoff(failures, limits, () => 1);
  expect([1, 2, 3, 4, 5, 6, 7].map(whole)).toEqual([400, 800, 1600, 3200, 6400, 8000, 8000]);
  expect(whole(10_000)).toBe(8_000);
});

test('chance takes away half at most', () => {
  expect(backoff(3, limits, () => 0)).toBe(800);
});
