import { expect, test } from 'vitest';

import { ago, bits, bytes, countdown, duration, milliseconds, percent } from './format';

test('bytes', () => {
  expect(bytes(0)).toBe('0 bytes');
  expect(bytes(1)).toBe('1 byte');
  expect(bytes(999)).toBe('999 bytes');
  expect(bytes(1024)).toBe('1 KB');
  expect(bytes(1536)).toBe('1.5 KB');
  expect(bytes(1024 * 1024 - 1)).toBe('1 MB');
  expect(bytes(20 * 1024 ** 3)).toBe('20 GB');
});

test('figures', () => {
  expect([milliseconds(8.44), milliseconds(120.4), milliseconds(null)]).toEqual(['8.4 ms', '120 ms', '–']);
  expect([bits(12_480_000), bits(0), bits(undefined)]).toEqual(['12.5 Mbit/s', '0 Mbit/s', '–']);
});

test('times', () => {
  expect(countdown(7_200_000)).toBe('2:00:00');
  expect(countdown(61_000)).toBe('1:01');
  expect(countdown(-5)).toBe('0:00');
  expect(duration(59_000)).toBe('under a minute');
  expect(duration(3_900_000)).toBe('1 h 05 min');
});

test('how long ago', () => {
  const now = new Date(2026, 5, 15, 12, 0).getTime();
  const at = (milliseconds: number) => new Date(now - milliseconds).toISOString();
  expect(ago(at(5_000), now)).toBe('just now');
  expect(ago(at(5 * 60_000), now)).toBe('5 minutes ago');
  expect(ago(at(86_400_000), now)).toBe('yesterday');
  expect(ago(at(-3_000), now)).toBe('just now');
});

test('percentages stay on the scale', () => {
  expect(percent(5, 0)).toBe(0);
  expect(percent(30, 20)).toBe(100);
  expect(percent(1, 4)).toBe(25);
});
