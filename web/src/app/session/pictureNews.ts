// What other tabs of this browser know of a session's picture: the tab that shows it tells which way it travels.

import type { Choice } from '../../core/transport';

const CHANNEL = 'gimp-platform.picture';

type News =
  | { news: 'asked'; sessionId: string }
  /** Null: that tab shows it no longer. */
  | { news: 'told'; sessionId: string; choice: Choice | null };

function open(): BroadcastChannel | null {
  return typeof BroadcastChannel === 'function' ? new BroadcastChannel(CHANNEL) : null;
}

/** For the tab that shows the session. */
export class PictureTeller {
  readonly #sessionId: string;
  readonly #channel = open();
  #choice: Choice | null = null;
  #left = false;

  constructor(sessionId: string) {
    this.#sessionId = sessionId;
    this.#channel?.addEventListener('message', ({ data }: MessageEvent<News>) => {
      if (data.news === 'asked' && data.sessionId === sessionId && this.#choice && !this.#left) this.tell(this.#choice);
    });
  }

  tell(choice: Choice | null): void {
    this.#choice = choice;
    this.#send({ news: 'told', sessionId: this.#sessionId, choice });
  }

  /** The page is left; perhaps it is only put aside. */
  left(): void {
    this.#left = true;
    this.#send({ news: 'told', sessionId: this.#sessionId, choice: null });
  }

  /** The page was put aside and is back. */
  back(): void {
    this.#left = false;
    this.tell(this.#choice);
  }

  stop(): void {
    this.tell(null);
    this.#channel?.close();
  }

  #send(news: News): void {
    this.#channel?.postMessage(news);
  }
}

/** For the other tabs. `onTold` is called with each change; the result ends it. */
export function hearOfPicture(sessionId: string, onTold: (choice: Choice | null) => void): () => void {
  const channel = open();
  channel?.addEventListener('message', ({ data }: MessageEvent<News>) => {
    if (data.news !== 'told' || data.sessionId !== sessionId) return;
    onTold(data.choice);
    // Another tab may show it as well.
    if (data.choice === null) channel.postMessage(asked);
  });
  const asked: News = { news: 'asked', sessionId };
  channel?.postMessage(asked);
  return () => channel?.close();
}
