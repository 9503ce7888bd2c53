import { expect, test } from 'vitest';

import { keysym, keysymOf, pressChord, reservedChords } from './keys';
import { typedBetween } from './softKeyboard';

test('characters become keysyms', () => {
  expect(keysymOf('a')).toBe(0x61);
  expect(keysymOf('ä')).toBe(0xe4);
  expect(keysymOf('€')).toBe(0x0100_20ac);
  expect(keysymOf('😀')).toBe(0x0101_f600);
  expect(keysymOf('\n')).toBe(keysym.return);
  expect(keysymOf('\u0085')).toBe(0x0100_0085);
});

test('a chord leaves no key held down', () => {
  for (const chord of reservedChords) {
    const held = new Set<string>();
    let most = 0;
    pressChord(chord, (key, down) => {
      if (down) held.add(key.code);
      else expect(held.delete(key.code)).toBe(true);
      most = Math.max(most, held.size);
    });
    expect(held.size).toBe(0);
    expect(most).toBe(chord.keys.length);
  }
});

test('with Shift it is the capital', () => {
  for (const { label, keys } of reservedChords) {
    const letter = /\+([A-Z])$/.exec(label)?.[1];
    if (letter === undefined) continue;
    const typed = label.includes('Shift') ? letter : letter.toLowerCase();
    expect(keys.at(-1), label).toEqual({ keysym: keysymOf(typed), code: `Key${letter}` });
  }
});

test('labels of chords are unique', () => {
  expect(new Set(reservedChords.map(({ label }) => label)).size).toBe(reservedChords.length);
});

test('changes of the hidden field become backspaces and text', () => {
  expect(typedBetween('', 'a')).toEqual({ backspaces: 0, text: 'a' });
  expect(typedBetween('hello', 'hell')).toEqual({ backspaces: 1, text: '' });
  // Autocorrection replaces the end of the word.
  expect(typedBetween('teh', 'the ')).toEqual({ backspaces: 2, text: 'he ' });
  // A character outside the basic plane is one backspace.
  expect(typedBetween('a😀', 'a')).toEqual({ backspaces: 1, text: '' });
  expect(typedBetween('abc', 'abc')).toEqual({ backspaces: 0, text: '' });
});
