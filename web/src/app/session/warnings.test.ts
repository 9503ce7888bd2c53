import { expect, test } from 'vitest';

import { Warnings } from './warnings';

const at = (time: string) => `2026-01-01T${time}Z`;
const expiring = (time: string) => ({ sessionId: 'a', kind: 'expiring', at: at(time) }) as const;
const idle = (time: string) => ({ sessionId: 'a', kind: 'idle', at: at(time) }) as const;

test('a warning that was dismissed does not come back with the next stream', () => {
  const warnings = new Warnings();
  expect(warnings.isNews(expiring('14:00:00'))).toBe(true);
  expect(warnings.isNews(expiring('14:00:00'))).toBe(false);
  // Measured anew.
  expect(warnings.isNews(idle('13:00:00'))).toBe(true);
  expect(warnings.isNews(idle('13:00:00.4'))).toBe(false);
  expect(warnings.isNews({ ...expiring('14:00:00'), sessionId: 'b' })).toBe(true);
});

test('the next end is warned of again', () => {
  const warnings = new Warnings();
  expect(warnings.isNews(idle('13:00:00'))).toBe(true);
  expect(warnings.isNews(idle('13:40:00'))).toBe(true);
});

test('a warning is out of date once the session was extended, here or in another tab', () => {
  const warnings = new Warnings();
  const expiresAt = at('14:00:00');
  expect(warnings.isPutOff({ id: 'a', expiresAt })).toBe(false);
  warnings.isNews(expiring('14:00:00'));
  expect(warnings.isPutOff({ id: 'a', expiresAt })).toBe(false);
  expect(warnings.isPutOff({ id: 'a', expiresAt: at('15:58:00') })).toBe(true);
});
