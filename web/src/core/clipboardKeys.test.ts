// @vitest-environment happy-dom
// Ctrl+V where the browser does not let the page read the clipboard: the V is typed when the text has arrived.
import { afterEach, expect, test, vi } from 'vitest';

import { Clipboard, LONGEST_TEXT } from './clipboard';

vi.spyOn(navigator.permissions, 'query').mockRejectedValue(new TypeError('no such permission'));

const done: string[] = [];
const element = document.createElement('div');
const canvas = element.appendChild(document.createElement('canvas'));
document.body.append(element);
const clipboard = new Clipboard({
  element,
  send: (text) => done.push(`send ${text}`),
  typePaste: (shift) => done.push(shift ? 'type V' : 'type v'),
  typeWholePaste: (shift) => done.push(shift ? 'type Ctrl+Shift+V' : 'type Ctrl+V'),
  onRemoteText: () => undefined,
  onTooLong: () => done.push('too long'),
  onImage: (image) => done.push(`image ${image.name}`),
});
clipboard.enabled = true;

afterEach(() => {
  vi.restoreAllMocks();
  done.length = 0;
});

function press(key: string, shiftKey: boolean, held: KeyboardEventInit = { ctrlKey: true }): boolean {
  let arrived = false;
  const listener = () => (arrived = true);
  canvas.addEventListener('keydown', listener, { once: true });
  canvas.dispatchEvent(new KeyboardEvent('keydown', { key, shiftKey, bubbles: true, ...held }));
  canvas.removeEventListener('keydown', listener);
  return arrived;
}

function paste(text: string, target: Element = canvas): void {
  const data = new DataTransfer();
  data.setData('text/plain', text);
  target.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
}

test('the text goes first, then the V', () => {
  expect(press('v', false), 'the key is kept from the picture').toBe(false);
  paste('ochre');
  expect(done).toEqual(['send ochre', 'type v']);
});

test('too long a text is told of, and the V is typed all the same', () => {
  press('v', false);
  paste('ä'.repeat(LONGEST_TEXT / 2 + 1));
  expect(done).toEqual(['too long', 'type v']);
});

test('Ctrl+Shift+V stays itself, and the next Ctrl+V too', () => {
  expect(press('V', true)).toBe(false);
  paste('umber');
  expect(press('v', false)).toBe(false);
  paste('umber');
  expect(done.filter((what) => what.startsWith('type'))).toEqual(['type V', 'type v']);
});

test('on a Mac Ctrl+V reaches the picture, for it makes no paste; Command+V is pasted as Ctrl+V', () => {
  vi.spyOn(navigator, 'platform', 'get').mockReturnValue('MacIntel');
  document.dispatchEvent(new Event('copy'));
  expect(press('v', false)).toBe(true);
  paste('from elsewhere');
  expect(done).toEqual([]);
  expect(press('v', false, { metaKey: true })).toBe(false);
  paste('malachite');
  expect(press('V', true, { metaKey: true })).toBe(false);
  paste('malachite');
  expect(done).toEqual(['send malachite', 'type Ctrl+V', 'type Ctrl+Shift+V']);
});

test('other keys reach the picture', () => {
  expect(press('c', false)).toBe(true);
  expect(done).toEqual([]);
});

test('Firefox tells of the paste where text is selected, not where the focus is', () => {
  const elsewhere = document.body.appendChild(document.createElement('p'));
  expect(press('v', false)).toBe(false);
  paste('sienna', elsewhere);
  expect(done.at(-1)).toBe('type v');
});

test('what the middle button pastes is not for the session', () => {
  press('v', false);
  canvas.dispatchEvent(new PointerEvent('pointerdown', { button: 1, bubbles: true }));
  paste('vermilion');
  expect(done).toEqual([]);
});

test('a picture from elsewhere is offered once, and GIMP pastes what it has; after that, and after a copy in the session, GIMP pastes its own', () => {
  const pasteImage = (pixels: string) => {
    const data = new DataTransfer();
    data.items.add(new File([pixels], 'shot.png', { type: 'image/png' }));
    press('v', false);
    canvas.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  };
  const changedElsewhere = () => document.dispatchEvent(new Event('copy'));
  changedElsewhere();
  pasteImage('pixels');
  expect(done.splice(0)).toEqual(['image shot.png', 'type v']);
  pasteImage('pixels');
  expect(done.splice(0)).toEqual(['type v']);
  changedElsewhere();
  pasteImage('pixels');
  expect(done.splice(0), 'that one has been pasted').toEqual(['type v']);
  changedElsewhere();
  press('c', false);
  pasteImage('other pixels');
  expect(done.splice(0), 'what was copied in the session is newer').toEqual(['type v']);
  changedElsewhere();
  pasteImage('other pixels');
  expect(done).toEqual(['image shot.png', 'type v']);
});
