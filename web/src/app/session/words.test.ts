import { expect, test } from 'vitest';

import type { Session } from '../../api';
import { ending, endingDetail } from './words';

const session = (change: Partial<Session>): Session => ({ status: 'error', endReason: 'crashed', ...change }) as Session;

test('a start that failed says why', () => {
  const failed = session({ endReason: 'evicted', endDetail: 'The server has no memory left.' });
  expect(ending(failed)).toEqual({ title: 'GIMP could not be started', text: 'The server has no memory left.' });
});

test('what had run says how it ended', () => {
  expect(ending(session({ startedAt: '2026-01-01T00:00:00Z', endDetail: 'x' })).title).toBe('GIMP stopped working');
  expect(ending(session({ status: 'stopped', endReason: 'evicted' })).title).toBe('Ended by the server');
});

test('an end that went as planned is told once', () => {
  const planned = { status: 'stopped', startedAt: '2026-01-01T00:00:00Z' } as const;
  const shutDown = 'The platform was shut down or needed the room.';
  expect(endingDetail(session({ ...planned, endReason: 'evicted', endDetail: shutDown }))).toBeNull();
  expect(endingDetail(session({ ...planned, endReason: 'user', endDetail: 'You ended the session.' }))).toBeNull();
  expect(endingDetail(session({ ...planned, endReason: 'user', endDetail: 'GIMP was closed.' }))).toBe('GIMP was closed.');
  const late = `${shutDown} It took too long, so its programs were stopped.`;
  expect(endingDetail(session({ ...planned, endReason: 'evicted', endDetail: late }))).toBe(late);
});

test('the cause of a failure is told once', () => {
  const why = 'GIMP stopped (signal 11) and could not be brought back.';
  expect(endingDetail(session({ startedAt: '2026-01-01T00:00:00Z', endDetail: why }))).toBe(why);
  expect(endingDetail(session({ startedAt: null, endDetail: why })), 'it is the text already').toBeNull();
});
