// The typed REST client: every call, its types from openapi.json, cookies refreshed once when they ran out.

import createClient, { type Middleware } from 'openapi-fetch';

import { ApiError } from './error';
import type { components, paths } from './schema';

export { ApiError };

type Schemas = components['schemas'];
export type AdminSession = Schemas['AdminSession'];
export type AdminUser = Schemas['AdminUser'];
export type AuditEntry = Schemas['AuditEntry'];
export type AuditKind = Schemas['AuditKind'];
export type AuthConfig = Schemas['AuthConfig'];
export type Document = Schemas['Document'];
export type ExportFormat = Schemas['ExportFormat'];
export type EndReason = Schemas['EndReason'];
export type Entry = Schemas['Entry'];
export type Invite = Schemas['Invite'];
export type Machine = Schemas['Machine'];
export type Notice = Schemas['NoticeEvent'];
export type Quota = Schemas['Quota'];
export type Recovery = Schemas['Recovery'];
export type Session = Schemas['Session'];
export type SignIn = Schemas['SignIn'];
export type StartStep = Schemas['StartStep'];
export type StreamEvent = Schemas['StreamEvent'];
export type TrashEntry = Schemas['TrashEntry'];
export type User = Schemas['User'];
export type Version = Schemas['Version'];

let onDate: (date: string | null) => void = () => undefined;

/** Called with the Date header of every answer. */
export function whenServerTellsTime(handler: (date: string | null) => void): void {
  onDate = handler;
}

let onSignedOut: () => void = () => undefined;

/** Called when a call was refused although the cookies were refreshed: the person has to sign in again. */
export function whenSignedOut(handler: () => void): void {
  onSignedOut = handler;
}

const REFRESHED_AT = 'gimp-platform.refreshed-at';
let refreshing: Promise<boolean> | null = null;

/**
 * New cookies, at most once at a time in all tabs of this browser: the server takes the second use of a refresh token
 * for theft. True when the cookies are good afterwards.
 */
export function refreshSignIn(): Promise<boolean> {
  const asked = Date.now();
  refreshing ??= (async () => {
    try {
      return navigator.locks ? await navigator.locks.request('gimp-platform.refresh', () => refresh(asked)) : await refresh(asked);
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

async function refresh(asked: number): Promise<boolean> {
  // Another tab did it while this one waited for the lock.
  if (Number(localStorage.getItem(REFRESHED_AT)) >= asked) return true;
  const response = await fetch('/api/v1/auth/refresh', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  if (response.ok) localStorage.setItem(REFRESHED_AT, String(Date.now()));
  else if (response.status >= 500) throw await ApiError.from(response);
  return response.ok;
}

/** Like `fetch` to our own API; refreshes the sign-in once on 401. Rejects with `ApiError` only when there is no answer. */
export async function authorisedFetch(request: Request): Promise<Response> {
  const again = request.clone();
  const response = await send(request);
  const path = new URL(request.url).pathname;
  if (response.status !== 401 || path.startsWith('/api/v1/auth/')) return response;
  let refreshed: boolean;
  try {
    refreshed = await refreshSignIn();
  } catch (error) {
    throw error instanceof ApiError ? error : ApiError.network();
  }
  const second = refreshed ? await send(again) : response;
  if (second.status === 401) onSignedOut();
  return second;
}

async function send(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw ApiError.network();
  }
}

const refuse: Middleware = {
  async onResponse({ response }) {
    onDate(response.headers.get('date'));
    if (!response.ok) throw await ApiError.from(response);
  },
};

const client = createClient<paths>({ baseUrl: location.origin, fetch: authorisedFetch });
client.use(refuse);

/**
 * The calls of the REST API. A refusal rejects with `ApiError`, so `data` is there whenever the call documents a body.
 */
export const api = client;

/** Unwraps a call's body. */
export async function body<T>(call: Promise<{ data?: T }>): Promise<NonNullable<T>> {
  const { data } = await call;
  if (data === undefined || data === null) throw new ApiError(0, { code: 'empty', title: 'The server sent an empty answer.' });
  return data;
}

/** Addresses that a browser opens by itself. */
export const urls = {
  file: (path: string) => `/api/v1/files/content?path=${encodeURIComponent(path)}`,
  /** `modifiedAt` makes a changed file another address. */
  thumbnail: (path: string, modifiedAt: string) =>
    `/api/v1/files/thumbnail?path=${encodeURIComponent(path)}&v=${encodeURIComponent(modifiedAt)}`,
  /** `state` makes a changed document another address. */
  document: (sessionId: string, id: string, state: string) =>
    `/api/v1/sessions/${sessionId}/documents/${encodeURIComponent(id)}/thumbnail?size=256&v=${encodeURIComponent(state)}`,
  export: (sessionId: string, id: string) => `/api/v1/sessions/${sessionId}/documents/${encodeURIComponent(id)}/export`,
  recovery: (id: string) => `/api/v1/workspace/recoveries/${encodeURIComponent(id)}/content`,
  version: (id: string) => `/api/v1/files/versions/${id}/content`,
  versionThumbnail: (id: string, size: number) => `/api/v1/files/versions/${id}/thumbnail?size=${size}`,
  events: '/api/v1/events',
  stream: (sessionId: string) => `${location.origin.replace(/^http/, 'ws')}/session/${sessionId}/stream`,
  vnc: (sessionId: string) => `${location.origin.replace(/^http/, 'ws')}/session/${sessionId}/vnc`,
};
