// Keys as X keysyms, and the combinations a browser keeps for itself.

/** X keysyms: `X11/keysymdef.h`. */
export const keysym = {
  backSpace: 0xff08,
  tab: 0xff09,
  return: 0xff0d,
  escape: 0xff1b,
  left: 0xff51,
  up: 0xff52,
  right: 0xff53,
  down: 0xff54,
  delete: 0xffff,
  f4: 0xffc1,
  f11: 0xffc8,
  shift: 0xffe1,
  control: 0xffe3,
  alt: 0xffe9,
} as const;

/** Keysym of a character: Latin-1 as it is, control characters their key, all else in the Unicode range. */
export function keysymOf(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  if (point === 0x0a || point === 0x0d) return keysym.return;
  if (point === 0x09) return keysym.tab;
  if ((point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff)) return point;
  return 0x0100_0000 | point;
}

export interface Key {
  keysym: number;
  /** `KeyboardEvent.code` */
  code: string;
}

export interface Chord {
  /** What the key caps say, e.g. `Ctrl+W`. */
  label: string;
  /** What GIMP does with it. */
  action: string;
  keys: readonly Key[];
}

const control: Key = { keysym: keysym.control, code: 'ControlLeft' };
const shift: Key = { keysym: keysym.shift, code: 'ShiftLeft' };
const alt: Key = { keysym: keysym.alt, code: 'AltLeft' };
// As the key caps: with Shift the capital. A VNC server takes Shift away to type a small letter.
const letter = (character: string): Key => ({ keysym: keysymOf(character), code: `Key${character.toUpperCase()}` });
const tab: Key = { keysym: keysym.tab, code: 'Tab' };

/** Combinations that browsers or window managers take before a page sees them. */
export const reservedChords: readonly Chord[] = [
  { label: 'Ctrl+W', action: 'Close image', keys: [control, letter('w')] },
  { label: 'Ctrl+N', action: 'New image', keys: [control, letter('n')] },
  { label: 'Ctrl+T', action: 'Show or hide the selection', keys: [control, letter('t')] },
  { label: 'Ctrl+Shift+N', action: 'New layer', keys: [control, shift, letter('N')] },
  { label: 'Ctrl+Shift+T', action: 'Show or hide guides', keys: [control, shift, letter('T')] },
  { label: 'Ctrl+Shift+W', action: 'Close all images', keys: [control, shift, letter('W')] },
  { label: 'Ctrl+Q', action: 'Quit GIMP and end the session', keys: [control, letter('q')] },
  { label: 'Ctrl+Tab', action: 'Leave a text field', keys: [control, tab] },
  { label: 'Alt+Tab', action: 'Next image', keys: [alt, tab] },
  { label: 'Alt+F4', action: 'Close window', keys: [alt, { keysym: keysym.f4, code: 'F4' }] },
  { label: 'F11', action: "GIMP's own full screen", keys: [{ keysym: keysym.f11, code: 'F11' }] },
  { label: 'Esc', action: 'Cancel', keys: [{ keysym: keysym.escape, code: 'Escape' }] },
];

export function pasteChord(withShift: boolean): Chord {
  return { label: 'Ctrl+V', action: 'Paste', keys: withShift ? [control, shift, letter('V')] : [control, letter('v')] };
}

/** Presses the keys in order and releases them in reverse. */
export function pressChord(chord: Chord, send: (key: Key, down: boolean) => void): void {
  for (const key of chord.keys) send(key, true);
  for (const key of [...chord.keys].reverse()) send(key, false);
}
