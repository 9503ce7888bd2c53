// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { cursorStyle, SessionCursor } from './cursor';

const image = { hotX: 3, hotY: 5, width: 24, height: 32 };

beforeEach(() => {
  vi.spyOn(HTMLCanvasElement.prototype, 'toDataURL').mockReturnValue('data:image/png;base64,AA');
  vi.stubGlobal('ImageData', class {});
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

test('one to one, scaled, and none', () => {
  expect(cursorStyle(image, 'data:x', 1)).toBe('url("data:x") 3 5, default');
  expect(cursorStyle(image, 'data:x', 2)).toBe('image-set(url("data:x") 2.000x) 2 3, default');
  expect(cursorStyle({ ...image, width: 0, height: 0 }, '', 1)).toBe('none');
});

test('under a finger the cursor is drawn with its hot spot there, until a mouse has it', () => {
  const { cursor, parent } = setup();
  cursor.finger = { x: 110, y: 220 };
  expect(parent.querySelector('img')).toBe(null);
  cursor.scale = 2;
  cursor.show({ ...image, rgba: new Uint8Array(24 * 32 * 4) });
  const drawn = parent.querySelector('img');
  expect(drawn?.style.left).toBe('98.5px');
  expect(drawn?.style.top).toBe('197.5px');
  expect(drawn?.style.width).toBe('12px');
  cursor.finger = { x: 10, y: 20 };
  expect(drawn?.style.left).toBe('-1.5px');
  cursor.finger = null;
  expect(parent.querySelector('img')).toBe(null);
});

test('a hidden cursor is not drawn under a finger either', () => {
  const { cursor, parent } = setup();
  cursor.finger = { x: 1, y: 1 };
  cursor.show({ ...image, rgba: new Uint8Array(24 * 32 * 4) });
  cursor.show({ hotX: 0, hotY: 0, width: 0, height: 0, rgba: new Uint8Array() });
  expect(parent.querySelector('img')).toBe(null);
});

function setup() {
  const parent = document.createElement('div');
  const canvas = document.createElement('canvas');
  parent.append(canvas);
  document.body.append(parent);
  parent.getBoundingClientRect = () => new DOMRect(10, 20, 100, 100);
  return { cursor: new SessionCursor(canvas), parent };
}
