import { expect, test } from 'vitest';

import { Latency } from './latency';

test('counts from an event to the first change that can show it', () => {
  const latency = new Latency();
  expect(latency.percentiles()).toBe(null);
  latency.sent(1, 100);
  latency.sent(2, 105);
  latency.shown(0, 108);
  expect(latency.percentiles()).toBe(null);
  latency.shown(1, 110);
  expect(latency.percentiles()).toEqual({ p50: 10, p95: 10 });
  latency.shown(2, 125);
  expect(latency.percentiles()).toEqual({ p50: 20, p95: 20 });
});

test('what comes much later has another cause', () => {
  const latency = new Latency();
  latency.sent(1, 0);
  latency.shown(1, 1_000);
  expect(latency.percentiles()).toBe(null);
});

test('of several events the newest counts', () => {
  const latency = new Latency();
  latency.sent(1, 0);
  latency.sent(2, 300);
  latency.shown(2, 310);
  expect(latency.percentiles()).toEqual({ p50: 10, p95: 10 });
});

test('only the last hundred count', () => {
  const latency = new Latency();
  for (let number = 1; number <= 300; number++) {
    latency.sent(number, 0);
    latency.shown(number, number);
  }
  expect(latency.percentiles()).toEqual({ p50: 251, p95: 296 });
});
