// What the server tells by itself: sessions, quota, notices. One stream of server-sent events a tab.

import { api, body, type Notice, type Quota, type Session, type StreamEvent, urls } from '../../api';
import { backoff } from '../../core/backoff';
import { mayFollow } from '../session/progress';

/** How long a page may be out of sight before it gives its stream back, milliseconds. Browsers have six connections. */
const HIDDEN = 30_000;
const LIMITS = { first: 1_000, longest: 20_000 };

export const isOver = (session: Session): boolean => session.status === 'stopped' || session.status === 'error';

class Live {
  /** By id; those that ended while this page was open stay. */
  sessions = $state.raw<Readonly<Record<string, Session>>>({});
  quota = $state.raw<Quota | null>(null);
  notices = $state.raw<readonly Notice[]>([]);
  /** False from a loss until the stream is back. */
  connected = $state(true);
  /** Whether the sessions are known yet. */
  loaded = $state(false);
  /** Rises whenever a session ended. */
  endings = $state(0);
  /** Rises whenever GIMP was started again after a crash. */
  restarts = $state(0);

  #source: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #running = false;
  #hiddenTimer: ReturnType<typeof setTimeout> | undefined;

  /** The session that is starting or running, if any. */
  get active(): Session | null {
    return Object.values(this.sessions).find((session) => !isOver(session)) ?? null;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    window.addEventListener('online', this.#hurry);
    document.addEventListener('visibilitychange', this.#visibility);
    this.#open();
    // Not by the stream alone: a proxy on the way may hold it back.
    void this.refresh().catch(() => undefined);
    void this.refreshQuota();
  }

  stop(): void {
    this.#running = false;
    window.removeEventListener('online', this.#hurry);
    document.removeEventListener('visibilitychange', this.#visibility);
    clearTimeout(this.#timer);
    clearTimeout(this.#hiddenTimer);
    this.#source?.close();
    this.#source = null;
    this.sessions = {};
    this.quota = null;
    this.notices = [];
    this.loaded = false;
    this.connected = true;
    this.#failures = 0;
  }

  /** Takes over what a call answered, without waiting for the event. */
  take(session: Session): void {
    const before = this.sessions[session.id];
    // The answer to a call may be older than an event that overtook it.
    if (before && !mayFollow(before, session)) return;
    this.sessions = { ...this.sessions, [session.id]: session };
    if (isOver(session) && (!before || !isOver(before))) this.endings++;
  }

  dismiss(notice: Notice): void {
    this.notices = this.notices.filter((other) => other !== notice);
  }

  /** Asks for the sessions instead of waiting to be told. */
  async refresh(): Promise<void> {
    const { sessions } = await body(api.GET('/api/v1/sessions', { params: { query: { limit: 20 } } }));
    if (this.#running) await this.#takeAll(sessions.filter((session) => !isOver(session)));
  }

  async refreshQuota(): Promise<void> {
    try {
      this.quota = await body(api.GET('/api/v1/workspace'));
    } catch {
      // Shown as unknown; the next event or upload brings it.
    }
  }

  #hurry = (): void => {
    if (this.#source?.readyState !== EventSource.OPEN) this.#open();
  };

  #visibility = (): void => {
    clearTimeout(this.#hiddenTimer);
    if (document.visibilityState === 'hidden') {
      this.#hiddenTimer = setTimeout(() => {
        clearTimeout(this.#timer);
        this.#source?.close();
        this.#source = null;
      }, HIDDEN);
    } else {
      this.#hurry();
    }
  };

  #open(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    const source = new EventSource(urls.events);
    this.#source = source;
    const on = <Name extends StreamEvent['event']>(name: Name, take: (data: Extract<StreamEvent, { event: Name }>['data']) => void) =>
      source.addEventListener(name, (event: MessageEvent<string>) => take(JSON.parse(event.data)));

    source.addEventListener('open', () => {
      this.#failures = 0;
      this.connected = true;
    });
    on('sessions', ({ sessions }) => void this.#takeAll(sessions));
    on('session', (session) => this.take(session));
    on('quota', (quota) => (this.quota = quota));
    on('notice', (notice) => {
      // The newest of each kind.
      this.notices = [...this.notices.filter(({ sessionId, kind }) => sessionId !== notice.sessionId || kind !== notice.kind), notice];
      if (notice.kind === 'restarted') this.restarts++;
    });
    // The browser's own reconnecting gives up at the first answer that is not 200, and hammers otherwise.
    source.addEventListener('error', () => {
      if (source !== this.#source) return;
      source.close();
      this.#failures++;
      if (this.#failures > 1) this.connected = false;
      this.#timer = setTimeout(() => void this.#again(), backoff(this.#failures, LIMITS));
    });
  }

  async #again(): Promise<void> {
    if (!this.#running) return;
    try {
      // Nothing tells why a stream ended. An ordinary call finds out whether the sign-in ran out.
      if (this.#failures > 1) await this.refresh();
    } catch {
      // Still unreachable, or signed out and stopped.
    }
    if (this.#running) this.#open();
  }

  async #takeAll(sessions: readonly Session[]): Promise<void> {
    const listed = new Set(sessions.map(({ id }) => id));
    const missed = Object.values(this.sessions).filter((session) => !isOver(session) && !listed.has(session.id));
    for (const session of sessions) this.take(session);
    this.loaded = true;
    // Ended while the stream was down: ask how.
    for (const { id } of missed) {
      try {
        this.take(await body(api.GET('/api/v1/sessions/{id}', { params: { path: { id } } })));
      } catch {
        const { [id]: _, ...rest } = this.sessions;
        this.sessions = rest;
      }
    }
  }
}

export const live = new Live();
