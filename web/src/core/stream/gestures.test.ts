// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { GestureInput } from './gestures';
import type { Action } from './messages';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

test('a tap is a click with the left button, two fingers with the right, three with the middle one', () => {
  for (const [fingers, button] of [
    [1, 1],
    [2, 3],
    [3, 2],
  ] as const) {
    const { touch, acts } = setup();
    for (let id = 0; id < fingers; id++) touch('touchstart', id, 10, 20);
    for (let id = 0; id < fingers; id++) touch('touchend', id, 10, 20);
    expect(acts, `${fingers}`).toEqual(['move 20,40', `press ${button} at 20,40`, `release ${button} at 20,40`]);
  }
});

test('a second tap near the first one hits the same spot', () => {
  const { touch, acts } = setup();
  for (const [x, y] of [
    [10, 20],
    [30, 25],
    [90, 20],
  ] as const) {
    touch('touchstart', 0, x, y);
    touch('touchend', 0, x, y);
  }
  expect(acts.filter((act) => act.startsWith('press'))).toEqual(['press 1 at 20,40', 'press 1 at 20,40', 'press 1 at 180,40']);
});

test('one finger that moves drags, from where it began', () => {
  const { touch, acts, fingers } = setup();
  touch('touchstart', 0, 10, 10);
  touch('touchmove', 0, 70, 10);
  touch('touchmove', 0, 80, 20);
  touch('touchend', 0, 80, 20);
  expect(acts).toEqual(['move 20,20', 'press 1 at 20,20', 'move 140,20', 'move 160,40', 'move 160,40', 'release 1 at 160,40']);
  expect(fingers.at(-1)).toEqual({ x: 80, y: 20 });
});

test('a finger held still is the right button, until it is lifted', () => {
  const { touch, acts } = setup();
  touch('touchstart', 0, 10, 10);
  vi.advanceTimersByTime(1_000);
  expect(acts).toEqual(['move 20,20', 'press 3 at 20,20']);
  touch('touchend', 0, 10, 10);
  expect(acts.at(-1)).toBe('release 3 at 20,20');
});

test('two fingers scroll what is below them, half a notch for half the way', () => {
  const { touch, acts } = setup();
  touch('touchstart', 0, 50, 20);
  touch('touchstart', 1, 70, 20);
  touch('touchmove', 0, 50, 95);
  touch('touchmove', 1, 70, 95);
  expect(wheels(acts)).toEqual({ dx: 0, dy: -180 });
  // 25 more in the middle of the two.
  touch('touchmove', 0, 50, 145);
  expect(wheels(acts)).toEqual({ dx: 0, dy: -240 });
  expect(acts.every((act) => act.endsWith('120,40'))).toBe(true);
});

test('a pinch is Ctrl and whole notches of the wheel', () => {
  const { touch, acts } = setup();
  touch('touchstart', 0, 40, 20);
  touch('touchstart', 1, 60, 20);
  touch('touchmove', 0, -20, 20);
  touch('touchmove', 1, 120, 20);
  vi.advanceTimersByTime(100);
  touch('touchmove', 1, 210, 20);
  expect(acts.filter((act) => !act.startsWith('move'))).toEqual([
    'control down',
    'wheel 0,-120 at 100,40',
    'control up',
    'control down',
    'wheel 0,-120 at 100,40',
    'control up',
  ]);
});

test('touching the picture takes the focus', () => {
  const { touch, onDown } = setup();
  touch('touchstart', 0, 10, 10);
  expect(onDown).toHaveBeenCalledTimes(1);
});

function wheels(acts: string[]): { dx: number; dy: number } {
  const sums = { dx: 0, dy: 0 };
  for (const act of acts) {
    const found = /^wheel (-?\d+),(-?\d+)/.exec(act);
    sums.dx += Number(found?.[1] ?? 0);
    sums.dy += Number(found?.[2] ?? 0);
  }
  return sums;
}

/** A picture of 200 by 200 on 100 by 100 pixels of the page. */
function setup() {
  const element = document.createElement('canvas');
  document.body.append(element);
  element.getBoundingClientRect = () => new DOMRect(0, 0, 100, 100);
  const acts: string[] = [];
  const fingers: unknown[] = [];
  const onDown = vi.fn();
  const act = (action: Action) => {
    switch (action.action) {
      case 'move':
        acts.push(`move ${action.x},${action.y}`);
        break;
      case 'button':
        acts.push(`${action.down ? 'press' : 'release'} ${action.button} at ${action.x},${action.y}`);
        break;
      case 'wheel':
        acts.push(`wheel ${action.dx},${action.dy} at ${action.x},${action.y}`);
        break;
      default:
        acts.push(action.action);
    }
  };
  new GestureInput(
    {
      element,
      picture: () => ({ width: 200, height: 200 }),
      act,
      onDown,
      control: (down) => acts.push(`control ${down ? 'down' : 'up'}`),
      onFinger: (at) => fingers.push(at),
    },
    new AbortController().signal,
  );
  const touch = (type: string, identifier: number, clientX: number, clientY: number) => {
    const event = new Event(type, { cancelable: true });
    element.dispatchEvent(Object.assign(event, { changedTouches: [{ identifier, clientX, clientY }] }));
  };
  return { touch, acts, fingers, onDown };
}
