// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { TrackpadPinch } from './pinch';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('a pinch is one press of Ctrl around its wheel events', () => {
  const { wheel, said } = setup();
  wheel(true);
  wheel(true);
  vi.advanceTimersByTime(100);
  wheel(true);
  expect(said).toEqual([true]);
  vi.advanceTimersByTime(120);
  expect(said).toEqual([true, false]);
});

test('a wheel without Ctrl, or with a Ctrl that is really held, is left alone', () => {
  const { wheel, said } = setup();
  wheel(false);
  window.dispatchEvent(new KeyboardEvent('keydown', { key: 'Control' }));
  wheel(true);
  window.dispatchEvent(new KeyboardEvent('keyup', { key: 'Control' }));
  expect(said).toEqual([]);
  wheel(true);
  expect(said).toEqual([true]);
});

test('stopping in the middle releases Ctrl', () => {
  const { wheel, said, pinch } = setup();
  wheel(true);
  pinch.stop();
  vi.advanceTimersByTime(1_000);
  expect(said).toEqual([true, false]);
});

function setup() {
  const element = document.createElement('div');
  document.body.append(element);
  const said: boolean[] = [];
  const pinch = new TrackpadPinch(element, (down) => said.push(down));
  return { pinch, said, wheel: (ctrlKey: boolean) => element.dispatchEvent(wheelEvent(ctrlKey)) };
}

function wheelEvent(ctrlKey: boolean): Event {
  return Object.assign(new Event('wheel', { bubbles: true }), { ctrlKey });
}
