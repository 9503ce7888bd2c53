// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { ScreenFollower, type ScreenSize } from './screen';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

test('a request that failed is repeated until it is granted', async () => {
  const { follower, request } = setup();
  request.mockRejectedValueOnce(new Error('no answer')).mockRejectedValueOnce(new Error('no answer'));
  follower.enabled = true;
  await vi.advanceTimersByTimeAsync(0);
  expect(request).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(request).toHaveBeenCalledTimes(3);
});

test('who is always refused is not asked for ever, but at the next change', async () => {
  const { follower, request } = setup();
  request.mockRejectedValue(new Error('not with this display'));
  follower.enabled = true;
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  expect(request).toHaveBeenCalledTimes(6);
  window.dispatchEvent(new Event('resize'));
  await vi.advanceTimersByTimeAsync(150);
  expect(request).toHaveBeenCalledTimes(7);
});

test('without a session nobody is asked', async () => {
  const { follower, request } = setup();
  request.mockRejectedValue(new Error('no answer'));
  follower.enabled = true;
  await vi.advanceTimersByTimeAsync(0);
  follower.enabled = false;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(request).toHaveBeenCalledTimes(1);
  follower.stop();
});

function setup() {
  const element = document.body.appendChild(document.createElement('div'));
  element.getBoundingClientRect = () => new DOMRect(0, 0, 800, 600);
  const request = vi.fn<(screen: ScreenSize) => Promise<unknown>>().mockResolvedValue(undefined);
  const follower = new ScreenFollower({ element, request, onViewport: () => undefined });
  return { follower, request };
}
