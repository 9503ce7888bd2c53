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
