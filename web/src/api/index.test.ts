// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { api, ApiError, body, whenSignedOut } from '.';

let answers: (request: Request) => Response;
let asked: string[];
let signedOut: number;

beforeEach(() => {
  asked = [];
  signedOut = 0;
  localStorage.clear();
  whenSignedOut(() => signedOut++);
  vi.stubGlobal('fetch', async (input: Request | string, init?: RequestInit) => {
    const request = input instanceof Request ? input : new Request(new URL(input, location.origin), init);
    asked.push(`${request.method} ${new URL(request.url).pathname}`);
    return answers(request);
  });
});
afterEach(() => void vi.unstubAllGlobals());

test('calls that meet an old sign-in share one refresh and are sent again', async () => {
  let fresh = false;
  answers = (request) => {
    if (request.url.endsWith('/auth/refresh')) {
      fresh = true;
      return json(200, {});
    }
    return fresh ? json(200, { usedBytes: 1 }) : problem(401, 'auth.required');
  };
  const both = await Promise.all([body(api.GET('/api/v1/workspace')), body(api.GET('/api/v1/workspace'))]);
  expect(both.map(({ usedBytes }) => usedBytes)).toEqual([1, 1]);
  expect(asked.filter((call) => call.endsWith('/auth/refresh'))).toHaveLength(1);
  expect(signedOut).toBe(0);
});

test('a body is sent again unchanged', async () => {
  const bodies: Promise<string>[] = [];
  let fresh = false;
  answers = (request) => {
    if (request.url.endsWith('/auth/refresh')) {
      fresh = true;
      return json(200, {});
    }
    bodies.push(request.text());
    return fresh ? json(201, {}) : problem(401, 'auth.required');
  };
  await api.POST('/api/v1/files/folder', { body: { path: 'Art' } });
  expect(await Promise.all(bodies)).toEqual(['{"path":"Art"}', '{"path":"Art"}']);
});

test('when the refresh is refused, the person has to sign in', async () => {
  answers = () => problem(401, 'auth.required');
  await expect(api.GET('/api/v1/workspace')).rejects.toMatchObject({ status: 401, code: 'auth.required' });
  expect(signedOut).toBe(1);
});

test('a wrong password is no reason to refresh', async () => {
  answers = () => problem(401, 'auth.badCredentials');
  await expect(api.POST('/api/v1/auth/login', { body: { email: 'a@example.org', password: 'x' } })).rejects.toMatchObject({
    code: 'auth.badCredentials',
  });
  expect(asked).toEqual(['POST /api/v1/auth/login']);
  expect(signedOut).toBe(0);
});

test('a server that is down is no reason to sign out', async () => {
  answers = () => {
    throw new TypeError('Failed to fetch');
  };
  await expect(api.GET('/api/v1/workspace')).rejects.toMatchObject({ status: 0, code: 'network' });
  answers = (request) => (request.url.endsWith('/auth/refresh') ? json(503, {}) : problem(401, 'auth.required'));
  await expect(api.GET('/api/v1/workspace')).rejects.toMatchObject({ status: 503 });
  expect(signedOut).toBe(0);
});

test('problem details become an error with fields', async () => {
  answers = () =>
    new Response(
      JSON.stringify({ type: 'about:blank', title: 'Invalid', status: 422, code: 'validation', errors: [{ field: 'email', message: 'Taken.' }] }),
      { status: 422, headers: { 'content-type': 'application/problem+json' } },
    );
  const error = await api.GET('/api/v1/workspace').catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(ApiError);
  expect(error).toMatchObject({ code: 'validation', fields: { email: 'Taken.' }, message: 'Invalid' });
});

test('an answer that is no problem document still says its status', async () => {
  answers = () => new Response('<html>Bad gateway</html>', { status: 502, headers: { 'content-type': 'text/html' } });
  await expect(api.GET('/api/v1/workspace')).rejects.toMatchObject({ status: 502, code: 'http.502' });
});

const json = (status: number, value: unknown) =>
  new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json' } });

const problem = (status: number, code: string) =>
  new Response(JSON.stringify({ status, code, title: code }), { status, headers: { 'content-type': 'application/problem+json' } });
