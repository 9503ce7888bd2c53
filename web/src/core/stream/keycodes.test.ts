import { expect, test } from 'vitest';

import { keycodeOf } from './keycodes';

// As `xev` shows them on any Linux.
test.each([
  ['Escape', 9],
  ['Digit1', 10],
  ['Backspace', 22],
  ['KeyQ', 24],
  ['Enter', 36],
  ['ControlLeft', 37],
  ['KeyA', 38],
  ['Backquote', 49],
  ['ShiftLeft', 50],
  ['KeyZ', 52],
  ['Space', 65],
  ['F10', 76],
  ['Numpad7', 79],
  ['NumpadDecimal', 91],
  ['IntlBackslash', 94],
  ['F11', 95],
  ['F12', 96],
  ['IntlRo', 97],
  ['NumpadEnter', 104],
  ['ControlRight', 105],
  ['PrintScreen', 107],
  ['AltRight', 108],
  ['Home', 110],
  ['ArrowUp', 111],
  ['Delete', 119],
  ['Pause', 127],
  ['IntlYen', 132],
  ['MetaLeft', 133],
  ['ContextMenu', 135],
  ['F13', 191],
  ['F24', 202],
])('%s is %i', (code, keycode) => {
  expect(keycodeOf(code)).toBe(keycode);
});

test.each(['', '-', 'Unidentified', 'Fn', 'toString'])('“%s” has none', (code) => {
  expect(keycodeOf(code)).toBe(0);
});
