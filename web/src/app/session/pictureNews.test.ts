import { expect, test, vi } from 'vitest';

import type { Choice } from '../../core/transport';
import { hearOfPicture, PictureTeller } from './pictureNews';

const stream: Choice = { kind: 'websocket', pinned: false, passedOver: [] };

test('a tab hears of the picture when it asks, when it changes, and when it goes', async () => {
  const teller = new PictureTeller('one');
  const other = new PictureTeller('two');
  teller.tell(stream);
  other.tell(stream);
  const told = vi.fn();
  const stop = hearOfPicture('one', told);
  await vi.waitFor(() => expect(told).toHaveBeenCalledWith(stream));
  const vnc: Choice = { ...stream, kind: 'vnc' };
  teller.tell(vnc);
  await vi.waitFor(() => expect(told).toHaveBeenLastCalledWith(vnc));
  teller.stop();
  await vi.waitFor(() => expect(told).toHaveBeenLastCalledWith(null));
  expect(told).toHaveBeenCalledTimes(3);
  stop();
  other.stop();
});

test('of two tabs that show it one may leave, or be put aside and come back', async () => {
  const [first, second] = [new PictureTeller('three'), new PictureTeller('three')];
  const vnc: Choice = { ...stream, kind: 'vnc' };
  first.tell(stream);
  second.tell(vnc);
  const told = vi.fn();
  const stop = hearOfPicture('three', told);
  await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(2));
  first.stop();
  await vi.waitFor(() => expect(told).toHaveBeenCalledTimes(4));
  expect(told.mock.calls.slice(2)).toEqual([[null], [vnc]]);
  second.left();
  await vi.waitFor(() => expect(told).toHaveBeenLastCalledWith(null));
  // It is asked, and does not answer any more.
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(told).toHaveBeenLastCalledWith(null);
  second.back();
  await vi.waitFor(() => expect(told).toHaveBeenLastCalledWith(vnc));
  stop();
  second.stop();
});
