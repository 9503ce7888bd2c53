// @vitest-environment happy-dom
import { afterEach, expect, test } from 'vitest';

import type { Action } from './messages';
import { buttonChanges, pixelAt, PointerInput, Wheel } from './pointer';

/** Of the two, raw updates are preferred. */
const MOVE = 'onpointerrawupdate' in window ? 'pointerrawupdate' : 'pointermove';

afterEach(() => document.body.replaceChildren());

test('a place of the page is the pixel under it, and beside the picture the nearest one', () => {
  const box = new DOMRect(10, 20, 100, 50);
  const picture = { width: 200, height: 100 };
  expect(pixelAt(10, 20, box, picture)).toEqual({ x: 0, y: 0 });
  expect(pixelAt(10.6, 20.4, box, picture)).toEqual({ x: 1, y: 0 });
  expect(pixelAt(109.9, 69.9, box, picture)).toEqual({ x: 199, y: 99 });
  expect(pixelAt(-500, 5_000, box, picture)).toEqual({ x: 0, y: 99 });
  expect(pixelAt(5, 5, new DOMRect(0, 0, 0, 0), picture)).toEqual({ x: 0, y: 0 });
});

test('buttons are X’s, and what is let go comes first', () => {
  expect(buttonChanges(0, 1)).toEqual([{ button: 1, down: true }]);
  expect(buttonChanges(1, 2)).toEqual([
    { button: 1, down: false },
    { button: 3, down: true },
  ]);
  expect(buttonChanges(0b11111, 0).map(({ button }) => button)).toEqual([1, 3, 2, 8, 9]);
  expect(buttonChanges(4, 4)).toEqual([]);
});

test('wheels in 1/120 of a notch; what is less is kept for later', () => {
  const wheel = new Wheel();
  expect(wheel.turned({ deltaX: 0, deltaY: 100, deltaMode: 0 })).toEqual({ dx: 0, dy: 120 });
  expect(wheel.turned({ deltaX: -3, deltaY: 0, deltaMode: 1 })).toEqual({ dx: -120, dy: 0 });
  expect(wheel.turned({ deltaX: 0, deltaY: 0.5, deltaMode: 0 })).toBe(null);
  expect(wheel.turned({ deltaX: 0, deltaY: 0.5, deltaMode: 0 })).toEqual({ dx: 0, dy: 1 });
  expect(wheel.turned({ deltaX: 0, deltaY: 1e9, deltaMode: 2 })).toEqual({ dx: 0, dy: 0x7fff });
});

test('moves, presses and releases in their order; a lost release is seen at the next move', () => {
  const { fire, acts } = setup();
  fire(MOVE, { clientX: 5, clientY: 5 });
  fire(MOVE, { clientX: 5.2, clientY: 5.2 });
  fire('pointerdown', { clientX: 5, clientY: 5, buttons: 1 });
  fire(MOVE, { clientX: 6, clientY: 5, buttons: 3 });
  fire(MOVE, { clientX: 7, clientY: 5, buttons: 0 });
  expect(acts).toEqual(['move 5,5', '1 down 5,5', 'move 6,5', '3 down 6,5', 'move 7,5', '1 up 7,5', '3 up 7,5']);
});

test('every coalesced sample counts', () => {
  const { fire, acts } = setup();
  const samples = [1, 2, 3].map((x) => ({ clientX: x, clientY: 0, timeStamp: x }));
  fire(MOVE, { clientX: 3, clientY: 0, getCoalescedEvents: () => samples });
  expect(acts).toEqual(['move 1,0', 'move 2,0', 'move 3,0']);
});

test('fingers are left to the gestures, and a pen taken away lets go', () => {
  const { fire, acts, downs } = setup();
  for (const type of ['pointerdown', 'pointermove', 'pointerup', 'pointercancel']) fire(type, { pointerType: 'touch', buttons: 1 });
  expect(acts).toEqual([]);
  fire('pointerdown', { pointerType: 'pen', clientX: 1, clientY: 1, buttons: 1 });
  fire('pointercancel', { pointerType: 'pen' });
  expect(acts).toEqual(['1 down 1,1', 'releaseAll']);
  expect(downs()).toBe(1);
});

test('the page neither scrolls nor opens its menu', () => {
  const { fire } = setup();
  expect(fire('wheel', { deltaY: 100, deltaMode: 0 }).defaultPrevented).toBe(true);
  expect(fire('contextmenu', {}).defaultPrevented).toBe(true);
});

function setup() {
  const element = document.createElement('canvas');
  document.body.append(element);
  element.getBoundingClientRect = () => new DOMRect(0, 0, 100, 100);
  const acts: string[] = [];
  let downs = 0;
  const act = (action: Action) => {
    switch (action.action) {
      case 'move':
        acts.push(`move ${action.x},${action.y}`);
        break;
      case 'button':
        acts.push(`${action.button} ${action.down ? 'down' : 'up'} ${action.x},${action.y}`);
        break;
      default:
        acts.push(action.action);
    }
  };
  const picture = () => ({ width: 100, height: 100 });
  new PointerInput({ element, picture, act, onDown: () => downs++ }, new AbortController().signal);
  const fire = (type: string, fields: object) => {
    const event = new Event(type, { cancelable: true });
    const all = { pointerType: 'mouse', pointerId: 1, clientX: 0, clientY: 0, buttons: 0, deltaX: 0, ...fields };
    for (const [name, value] of Object.entries(all)) Object.defineProperty(event, name, { value });
    element.dispatchEvent(event);
    return event;
  };
  return { fire, acts, downs: () => downs };
}
