import { expect, test } from 'vitest';

import type { Session } from '../../api';
import { ending } from './words';

const session = (change: Partial<Session>): Session => ({ status: 'error', endReason: 'crashed', ...change }) as Session;

test('a start that failed says why', () => {
  const failed = session({ endReason: 'evicted', endDetail: 'The server has no memory left.' });
  expect(ending(failed)).toEqual({ title: 'GIMP could not be started', text: 'The server has no memory left.' });
});

test('what had run says how it ended', () => {
  expect(ending(session({ startedAt: '2026-01-01T00:00:00Z', endDetail: 'x' })).title).toBe('GIMP stopped working');
  expect(ending(session({ status: 'stopped', endReason: 'evicted' })).title).toBe('Ended by the server');
});
