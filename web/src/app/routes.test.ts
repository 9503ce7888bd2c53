import { expect, test } from 'vitest';

import { matchRoute, safeReturn } from './routes';

const ORIGIN = 'https://paint.example.org';
const ID = '0190f3c2-7d4e-7abc-9def-0123456789ab';

test('knows its pages', () => {
  expect(matchRoute('/')).toEqual({ page: 'landing' });
  expect(matchRoute('/dashboard/')).toEqual({ page: 'dashboard' });
  expect(matchRoute(`/session/${ID.toUpperCase()}`)).toEqual({ page: 'session', id: ID });
  expect(matchRoute('/session/not-a-uuid')).toEqual({ page: 'notFound' });
  expect(matchRoute(`/session/${ID}/vnc`)).toEqual({ page: 'notFound' });
  expect(matchRoute('/constructor')).toEqual({ page: 'notFound' });
});

test('goes back only to its own pages after signing in', () => {
  expect(safeReturn(`/session/${ID}?x=1#y`, ORIGIN)).toBe(`/session/${ID}?x=1#y`);
  expect(safeReturn('/admin?tab=audit', ORIGIN)).toBe('/admin?tab=audit');
  for (const bad of [
    null,
    '',
    'https://evil.example/dashboard',
    '//evil.example/dashboard',
    '/\\evil.example/dashboard',
    '/\t/evil.example/dashboard',
    'javascript:alert(1)',
    '/signin?return=/signin',
    '/api/v1/auth/logout',
  ]) {
    expect(safeReturn(bad, ORIGIN)).toBe('/dashboard');
  }
});
