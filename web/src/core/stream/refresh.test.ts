import { expect, test } from 'vitest';

import { rateOf } from './refresh';

test('the rate is that of most frames', () => {
  const every = (gap: number) => Array.from({ length: 20 }, (_, i) => 1_000 + i * gap);
  expect(rateOf(every(1000 / 60))).toBe(60);
  expect(rateOf(every(1000 / 144))).toBe(144);
  // Three frames were missed.
  expect(rateOf([...every(1000 / 120).slice(0, 10), ...every(1000 / 120).slice(13)])).toBe(120);
  expect(rateOf([])).toBe(60);
  expect(rateOf([0, 1_000])).toBe(24);
});
