import { expect, test } from 'vitest';

import { choiceWhy, pinWords } from './pictureWords';

test('says why, by the best one that is not used', () => {
  expect(choiceWhy({ kind: 'websocket', pinned: false, passedOver: [] })).toBe('the best there is');
  expect(choiceWhy({ kind: 'vnc', pinned: true, passedOver: [] })).toBe('chosen by you');
  expect(choiceWhy({ kind: 'vnc', pinned: false, passedOver: [{ kind: 'websocket', why: 'refused' }] })).toBe(
    'the picture stream could not be reached',
  );
  expect(choiceWhy({ kind: 'websocket', pinned: false, passedOver: [{ kind: 'webrtc', why: 'late' }] })).toBe('WebRTC did not connect in time');
});

test('what a person chose is named when the picture does not come back by it', () => {
  expect(pinWords('webrtc', 2)).toBeNull();
  expect(pinWords('webrtc', 3)).toBe('You chose “Picture stream, WebRTC”; another way may work.');
  expect(pinWords('auto', 30)).toBeNull();
});
