// States of a session in plain words.

import type { EndReason, Session, StartStep } from '../../api';
import type { EndCause } from '../../core/connection';
import type { Loss } from '../../core/transport';

export const startSteps: readonly { step: StartStep; label: string }[] = [
  { step: 'creatingWorkspace', label: 'Opening your workspace' },
  { step: 'startingDisplay', label: 'Starting the display' },
  { step: 'startingGimp', label: 'Starting GIMP' },
  { step: 'ready', label: 'Ready' },
];

const ENDINGS: Record<EndReason, { title: string; text: string }> = {
  user: { title: 'You ended the session', text: 'Your files are in your workspace.' },
  expired: { title: 'The time was up', text: 'The session reached its time limit. Your files are in your workspace.' },
  idle: { title: 'Ended because nobody was using it', text: 'There was no input for a long time. Your files are in your workspace.' },
  crashed: { title: 'GIMP stopped working', text: 'Everything you had saved is in your workspace.' },
  evicted: { title: 'Ended by the server', text: 'It was shut down, or needed the room. Your files are in your workspace.' },
  admin: { title: 'Ended by an administrator', text: 'Your files are in your workspace.' },
};

export function ending(session: Session): { title: string; text: string } {
  if (session.status === 'error' && !session.startedAt) {
    return { title: 'GIMP could not be started', text: session.endDetail ?? 'Try again; if it keeps failing, tell your administrator.' };
  }
  // What has ended has a reason.
  return ENDINGS[session.endReason ?? 'user'];
}

/** What the server knows beyond `ending`: of a failure the cause, of a planned end only what did not go as planned. */
export function endingDetail(session: Session): string | null {
  const detail = session.endDetail ?? null;
  if (detail === null || detail === ending(session).text) return null;
  if (session.status === 'error') return detail;
  // GIMP was closed from within.
  if (session.endReason === 'user' && detail !== 'You ended the session.') return detail;
  return /[.] \S/.test(detail) ? detail : null;
}

/** While the picture is gone. */
export const lossWords: Record<Loss, string> = {
  sessionEnded: 'The session has ended.',
  signedOut: 'You are signed out.',
  pictureLost: 'The picture was interrupted. Your session goes on.',
  serverRestarting: 'The server is being restarted. Your session goes on.',
  unusable: 'Reconnecting… Your session goes on.',
  lost: 'Reconnecting… Your session goes on.',
};

/** When it will not come back by itself, and what brings it back. */
export const disconnectedWords: Record<EndCause, { title: string; action: string }> = {
  closed: { title: 'Disconnected', action: 'Connect again' },
  sessionEnded: { title: 'The session has ended', action: 'Load the page again' },
  signedOut: { title: 'You are signed out', action: 'Sign in' },
};

/** For lists. */
export const endingInShort = (session: Session): string => ending(session).title;

export function statusInShort(session: Session): { text: string; kind: 'ok' | 'accent' | 'warn' | 'danger' | 'plain' } {
  switch (session.status) {
    case 'starting':
      return { text: 'Starting', kind: 'accent' };
    case 'running':
      return session.stage ? { text: 'Ending', kind: 'warn' } : { text: 'Running', kind: 'ok' };
    case 'stopped':
      return { text: 'Ended', kind: 'plain' };
    case 'error':
      return { text: 'Failed', kind: 'danger' };
  }
}
