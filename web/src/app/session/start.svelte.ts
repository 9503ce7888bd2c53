// Starting and ending sessions, from wherever it is asked for.

import { api, ApiError, body, type Session } from '../../api';
import { screenFor } from '../../core/screen';
import { live } from '../state/live.svelte';
import { toasts } from '../state/toasts.svelte';

/** The screen a session started now would fill. */
function screenNow() {
  return screenFor({ width: window.innerWidth, height: window.innerHeight, ratio: window.devicePixelRatio || 1 });
}

/** What became of a start: the new session, or the one that runs already. */
export type Started = { session: Session } | { existing: string };

export async function startSession(): Promise<Started> {
  try {
    const session = await body(api.POST('/api/v1/sessions', { body: { application: 'gimp', screen: screenNow() } }));
    live.take(session);
    return { session };
  } catch (error) {
    if (error instanceof ApiError && error.status === 409 && typeof error.extra.sessionId === 'string') {
      return { existing: error.extra.sessionId };
    }
    throw error;
  }
}

export async function endSession(id: string): Promise<void> {
  live.take(await body(api.DELETE('/api/v1/sessions/{id}', { params: { path: { id } } })));
}

export async function extendSession(id: string): Promise<void> {
  live.take(await body(api.POST('/api/v1/sessions/{id}/extend', { params: { path: { id } } })));
  // It counts as use.
  toasts.dismissKey(`${id}/idle`);
}

export async function openInSession(id: string, what: { path: string } | { recoveryId: string }): Promise<void> {
  await api.POST('/api/v1/sessions/{id}/open', { params: { path: { id } }, body: what });
}

const KEY = 'gimp-platform.open-when-ready';

/** Asks that a file or recovery be opened as soon as the session's page finds GIMP running. Survives a reload. */
export function openWhenReady(id: string, what: { path: string } | { recoveryId: string }): void {
  sessionStorage.setItem(KEY, JSON.stringify({ id, what }));
}

export function takeOpenWhenReady(id: string): { path: string } | { recoveryId: string } | null {
  const text = sessionStorage.getItem(KEY);
  if (!text) return null;
  const wish = JSON.parse(text) as { id: string; what: { path: string } | { recoveryId: string } };
  if (wish.id !== id) return null;
  sessionStorage.removeItem(KEY);
  return wish.what;
}
