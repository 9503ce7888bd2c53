import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Silence, SILENCE } from './silence';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('a question that nothing follows is the end, and any byte is an answer', () => {
  const { silence, onSilence } = setup();
  silence.asked();
  vi.advanceTimersByTime(SILENCE - 1);
  silence.heard();
  vi.advanceTimersByTime(SILENCE);
  expect(onSilence).not.toHaveBeenCalled();
  silence.asked();
  vi.advanceTimersByTime(SILENCE);
  expect(onSilence).toHaveBeenCalledTimes(1);
});

test('asking again gives it no more time', () => {
  const { silence, onSilence } = setup();
  silence.asked();
  vi.advanceTimersByTime(SILENCE - 1);
  silence.asked();
  vi.advanceTimersByTime(1);
  expect(onSilence).toHaveBeenCalledTimes(1);
});

test('a page that stood still asks once more before it judges', () => {
  const { silence, ask, onSilence } = setup();
  silence.asked();
  // Asleep: the clock goes on, timers do not.
  const now = performance.now();
  vi.spyOn(performance, 'now').mockReturnValue(now + 60_000);
  vi.advanceTimersByTime(SILENCE);
  expect(ask).toHaveBeenCalledTimes(1);
  expect(onSilence).not.toHaveBeenCalled();
  vi.restoreAllMocks();
  silence.asked();
  vi.advanceTimersByTime(SILENCE);
  expect(onSilence).toHaveBeenCalledTimes(1);
});

test('after the end nothing is said', () => {
  const { silence, onSilence } = setup();
  silence.asked();
  silence.stop();
  vi.advanceTimersByTime(10 * SILENCE);
  expect(onSilence).not.toHaveBeenCalled();
});

function setup() {
  const ask = vi.fn();
  const onSilence = vi.fn();
  return { ask, onSilence, silence: new Silence({ ask, onSilence }) };
}
