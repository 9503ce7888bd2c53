// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Media } from './media';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

test('a browser that refuses a connection is asked again later, and that is all', async () => {
  vi.spyOn(console, 'info').mockReturnValue(undefined);
  const made = vi.fn(function () {
    throw new DOMException('too many', 'UnknownError');
  });
  vi.stubGlobal('RTCPeerConnection', made);
  const signals: unknown[] = [];
  const opens: boolean[] = [];
  const media = new Media({
    iceServers: () => Promise.resolve([]),
    signal: (signal) => signals.push(signal),
    onUnits: () => undefined,
    onOpen: (open) => opens.push(open),
    onMessage: () => undefined,
  });
  await vi.advanceTimersByTimeAsync(0);
  expect(made).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(made.mock.calls.length).toBeGreaterThan(1);
  expect([signals, opens]).toEqual([[], []]);
  media.stop();
  const before = made.mock.calls.length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(made).toHaveBeenCalledTimes(before);
});
