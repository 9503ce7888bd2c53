// @vitest-environment happy-dom
import { afterEach, expect, test, vi } from 'vitest';

import { followRefreshRate, rateOf } from './refresh';

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

test('the rate is that of most frames', () => {
  const every = (gap: number) => Array.from({ length: 20 }, (_, i) => 1_000 + i * gap);
  expect(rateOf(every(1000 / 60))).toBe(60);
  expect(rateOf(every(1000 / 144))).toBe(144);
  // Three frames were missed.
  expect(rateOf([...every(1000 / 120).slice(0, 10), ...every(1000 / 120).slice(13)])).toBe(120);
  expect(rateOf([])).toBe(60);
  expect(rateOf([0, 1_000])).toBe(24);
});

test('measured again when the page is seen again or may be on another display', async () => {
  let gap = 1000 / 60;
  let frames = 0;
  vi.stubGlobal('requestAnimationFrame', (frame: (time: number) => void) => queueMicrotask(() => frame(++frames * gap)));
  const rates: number[] = [];
  const abort = new AbortController();
  followRefreshRate((rate) => rates.push(rate), abort.signal);
  await vi.waitFor(() => expect(rates).toEqual([60]));
  gap = 1000 / 120;
  document.dispatchEvent(new Event('visibilitychange'));
  // While one measures, that is enough.
  vi.stubGlobal('devicePixelRatio', 2);
  window.dispatchEvent(new Event('resize'));
  const before = frames;
  await vi.waitFor(() => expect(rates).toEqual([60, 120, 120]));
  expect(frames - before).toBeLessThanOrEqual(21);
  // The window's size says nothing of its display.
  window.dispatchEvent(new Event('resize'));
  vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
  document.dispatchEvent(new Event('visibilitychange'));
  abort.abort();
  vi.stubGlobal('devicePixelRatio', 1);
  window.dispatchEvent(new Event('resize'));
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(rates).toHaveLength(3);
});
