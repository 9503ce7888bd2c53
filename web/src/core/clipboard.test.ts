import { expect, test } from 'vitest';

import { ClipboardOrder, LONGEST_TEXT } from './clipboard';

test('text from before the session is given to it once', () => {
  const order = new ClipboardOrder();
  expect(order.takeLocal('colour #a1b2c3')).toBe(true);
  expect(order.takeLocal('colour #a1b2c3')).toBe(false);
});

test('an image copied in GIMP is not replaced by old text of this computer', () => {
  const order = new ClipboardOrder();
  order.copiedInSession();
  expect(order.takeLocal('old text')).toBe(false);
  // After a visit elsewhere this computer's clipboard may be newer.
  order.localMayHaveChanged();
  expect(order.takeLocal('new text')).toBe(true);
});

test('text that came from the session does not go back to it', () => {
  const order = new ClipboardOrder();
  order.remoteText('from GIMP');
  order.localMayHaveChanged();
  expect(order.takeLocal('from GIMP')).toBe(false);
});

test('empty and enormous texts stay here', () => {
  const order = new ClipboardOrder();
  expect(order.takeLocal('')).toBe(false);
  order.localMayHaveChanged();
  expect(order.takeLocal('x'.repeat(LONGEST_TEXT + 1))).toBe(false);
  order.localMayHaveChanged();
  // Bytes count: half as many of these.
  expect(order.takeLocal('ä'.repeat(LONGEST_TEXT / 2 + 1))).toBe(false);
  order.localMayHaveChanged();
  expect(order.takeLocal('ä'.repeat(LONGEST_TEXT / 2))).toBe(true);
});
