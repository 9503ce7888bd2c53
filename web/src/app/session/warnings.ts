// The server repeats the warnings that hold whenever a page's stream begins, so that one that was out of sight hears of
// them: here each is told apart from what was said before, and from what is no longer so. Pure.

import type { Notice, Session } from '../../api';

/** What the end of an idle session may move by without anybody having used it, milliseconds: it is measured each time. */
const JITTER = 5_000;

export class Warnings {
  /** By session and kind: the end that was warned of last, milliseconds since the epoch. */
  #ends = new Map<string, number>();

  /** Whether a warning is of another end than the last one. */
  isNews({ sessionId, kind, at }: Pick<Notice, 'sessionId' | 'kind' | 'at'>): boolean {
    const key = `${sessionId}/${kind}`;
    const end = Date.parse(at);
    if (end <= (this.#ends.get(key) ?? 0) + JITTER) return false;
    this.#ends.set(key, end);
    return true;
  }

  /** Whether the session no longer expires when it was said to. */
  isPutOff({ id, expiresAt }: Pick<Session, 'id' | 'expiresAt'>): boolean {
    const end = this.#ends.get(`${id}/expiring`);
    return end !== undefined && expiresAt != null && Date.parse(expiresAt) > end;
  }
}

export const warnings = new Warnings();
