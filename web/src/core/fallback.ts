// Several ways to a session as one transport: the best that opens is used. A way that does not show its picture soon is
// joined by the next one, and better ones than the one in use are tried again from time to time, unseen, and take over
// with their first picture.
//
//   begin -> open -> shown -> closed      the ways worse than the one shown are dropped
//     |        |                          (`open` waits for the pointer's buttons, so that no stroke is torn)
//     +--------+--> dropped               better ones are begun again after RETRY

import {
  type Carrier,
  type Choice,
  type Loss,
  NO_FIGURES,
  type PassedOver,
  type PictureSize,
  type ProofResult,
  type Transport,
  type TransportEvents,
  type TransportFactory,
  type TransportKind,
  type TransportListener,
  type TransportStats,
} from './transport';

export interface Candidate {
  kind: TransportKind;
  /** Whether this browser can do it at all. */
  supported(): boolean;
  make: TransportFactory;
}

interface Attempt {
  /** Index of its candidate: lower is better. */
  readonly rank: number;
  readonly transport: Transport;
  /** The transport's part of the page. */
  readonly layer: HTMLElement;
  timer: ReturnType<typeof setTimeout> | undefined;
  size: PictureSize | null;
  exact: boolean | null;
  carrier: Carrier | null;
}

/** Milliseconds without a picture until the next way is begun as well. */
const PATIENCE = 3_000;
/** Milliseconds without a picture until a way is dropped. */
const GIVE_UP = 15_000;
/** Milliseconds until better ways are tried again. */
const RETRY = 30_000;
/** Would be the same by every way, and needs an answer from the server. */
const TOLD: readonly Loss[] = ['sessionEnded', 'signedOut', 'serverRestarting'];

export class FallbackTransport implements Transport {
  readonly #element: HTMLElement;
  readonly #candidates: readonly Candidate[];
  readonly #pinned: boolean;
  readonly #abort = new AbortController();
  readonly #attempts = new Map<number, Attempt>();
  readonly #passedOver = new Map<number, PassedOver>();
  #listener: TransportListener | null = null;
  #shown: Attempt | null = null;
  /** Open, but a button is held down. */
  #waiting: Attempt | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #finished = false;
  #buttons = 0;
  #focusOnClick = true;
  #watched = false;

  /** `candidates`: the best first; the last one is trusted to work. `pinned`: the person chose it. */
  constructor(element: HTMLElement, candidates: readonly Candidate[], pinned: boolean) {
    this.#element = element;
    this.#candidates = candidates;
    this.#pinned = pinned;
  }

  connect(listener: TransportListener): void {
    this.#listener = listener;
    const { signal } = this.#abort;
    for (const type of ['pointerdown', 'pointermove', 'pointerup', 'pointercancel'] as const) {
      window.addEventListener(type, (event) => this.#pressed(event.type === 'pointercancel' ? 0 : event.buttons), {
        signal,
        capture: true,
        passive: true,
      });
    }
    this.#beginFrom(0, 'lost');
  }

  disconnect(): void {
    this.#finish();
    for (const attempt of [...this.#attempts.values()]) this.#drop(attempt);
    this.#shown?.transport.disconnect();
    this.#shown?.layer.remove();
  }

  sendKey(keysym: number, code: string, down?: boolean): void {
    this.#shown?.transport.sendKey(keysym, code, down);
  }

  releaseKeys(): void {
    this.#shown?.transport.releaseKeys();
  }

  sendClipboard(text: string): void {
    this.#shown?.transport.sendClipboard(text);
  }

  focus(): void {
    this.#shown?.transport.focus();
  }

  setFocusOnClick(on: boolean): void {
    this.#focusOnClick = on;
    this.#shown?.transport.setFocusOnClick(on);
  }

  ping(): void {
    this.#shown?.transport.ping();
  }

  copyPicture(into: HTMLCanvasElement): boolean {
    return this.#shown?.transport.copyPicture(into) ?? false;
  }

  stats(): TransportStats {
    return this.#shown?.transport.stats() ?? { kind: this.#candidates[0]?.kind ?? 'vnc', received: 0, ...NO_FIGURES };
  }

  watch(watched: boolean): void {
    this.#watched = watched;
    this.#shown?.transport.watch(watched);
  }

  prove(): Promise<ProofResult> {
    return this.#shown?.transport.prove() ?? Promise.resolve('unable');
  }

  /** Whether what is shown is more than a last picture. */
  get #alive(): boolean {
    return this.#shown !== null && this.#attempts.get(this.#shown.rank) === this.#shown;
  }

  /** Begins the best candidate from `rank` on; without any, that is the end, by `loss`. */
  #beginFrom(rank: number, loss: Loss): void {
    for (let next = rank; next < this.#candidates.length; next++) {
      if (this.#attempts.has(next)) return;
      if (this.#candidates[next]?.supported()) {
        this.#begin(next);
        return;
      }
      this.#passedOver.set(next, 'unsupported');
    }
    // Never from inside `connect`.
    queueMicrotask(() => this.#close(loss));
  }

  #begin(rank: number): void {
    const candidate = this.#candidates[rank];
    if (!candidate) return;
    const layer = document.createElement('div');
    Object.assign(layer.style, { position: 'absolute', inset: '0' });
    // A better one stays out of the page until it has something to show; a worse one needs its place to find its size.
    if (!this.#shown) this.#element.append(layer);
    else if (rank > this.#shown.rank) this.#element.prepend(layer);

    const attempt: Attempt = { rank, transport: candidate.make(layer), layer, timer: undefined, size: null, exact: null, carrier: null };
    this.#attempts.set(rank, attempt);
    // For the only one left the connection has a limit of its own.
    const last = rank === this.#candidates.length - 1;
    if (this.#shown || !last) attempt.timer = setTimeout(() => this.#late(attempt), this.#shown ? GIVE_UP : PATIENCE);
    attempt.transport.connect((event, data) => {
      if (!this.#finished && this.#attempts.get(rank) === attempt) this.#handle(attempt, event, data);
    });
  }

  #late(attempt: Attempt): void {
    this.#passedOver.set(attempt.rank, 'late');
    if (this.#shown) {
      this.#giveUp(attempt);
      return;
    }
    // On a slow line the better way is still the better one, and goes on trying beside the next. Not so one that nothing
    // was heard of: a browser opens no second WebSocket to a server while the first is being opened.
    if (attempt.transport.stats().received === 0) this.#drop(attempt);
    else attempt.timer = setTimeout(() => this.#giveUp(attempt), GIVE_UP - PATIENCE);
    this.#beginFrom(attempt.rank + 1, 'lost');
  }

  #giveUp(attempt: Attempt): void {
    this.#drop(attempt);
    if (this.#alive) this.#retryLater();
    else if (this.#attempts.size === 0) this.#close('lost');
  }

  #handle<K extends keyof TransportEvents>(attempt: Attempt, event: K, data: TransportEvents[K]): void {
    switch (event) {
      case 'open':
        clearTimeout(attempt.timer);
        if (this.#alive && this.#buttons !== 0) this.#waiting = attempt;
        else this.#show(attempt);
        break;
      case 'closed':
        this.#lost(attempt, (data as TransportEvents['closed']).loss);
        break;
      case 'size':
        attempt.size = data as TransportEvents['size'];
        if (!this.#shown || this.#shown === attempt) this.#tell('size', attempt.size);
        break;
      case 'exact':
        attempt.exact = (data as TransportEvents['exact']).exact;
        if (this.#shown === attempt) this.#tell('exact', { exact: attempt.exact });
        break;
      case 'clipboard':
        if (this.#shown === attempt) this.#tell('clipboard', data as TransportEvents['clipboard']);
        break;
      case 'carrier':
        attempt.carrier = data as TransportEvents['carrier'];
        if (this.#shown === attempt) this.#tellChoice();
        break;
      case 'chosen':
        break;
    }
  }

  #pressed(buttons: number): void {
    this.#buttons = buttons;
    if (buttons === 0 && this.#waiting) this.#show(this.#waiting);
  }

  #show(attempt: Attempt): void {
    const before = this.#shown;
    const { transport, layer, size, exact, rank } = attempt;
    this.#waiting = null;
    this.#shown = attempt;
    this.#passedOver.delete(rank);
    const focused = before?.layer.contains(document.activeElement) ?? false;
    if (focused) before?.transport.releaseKeys();
    if (before || !layer.isConnected) this.#element.append(layer);
    if (before && size) this.#tell('size', size);
    transport.setFocusOnClick(this.#focusOnClick);
    transport.watch(this.#watched);
    if (focused) transport.focus();

    for (const other of [...this.#attempts.values()]) if (other.rank > rank) this.#drop(other);
    if (before) this.#drop(before);
    if (!before) this.#tell('open', undefined);
    this.#tell('exact', { exact: exact ?? false });
    this.#tellChoice();
    this.#retryLater();
  }

  #lost(attempt: Attempt, loss: Loss): void {
    clearTimeout(attempt.timer);
    if (this.#waiting === attempt) this.#waiting = null;
    if (attempt === this.#shown) {
      const hasNext = attempt.rank < this.#candidates.length - 1;
      if (loss !== 'unusable' || !hasNext) {
        this.#close(loss);
        return;
      }
      // Its picture stays until the next one has drawn its own.
      this.#attempts.delete(attempt.rank);
      this.#passedOver.set(attempt.rank, 'unusable');
      this.#beginFrom(attempt.rank + 1, loss);
      return;
    }
    this.#drop(attempt);
    this.#passedOver.set(attempt.rank, loss === 'unusable' ? 'unusable' : 'refused');
    if (this.#alive) {
      this.#tellChoice();
      this.#retryLater();
    } else if (TOLD.includes(loss)) {
      this.#close(loss);
    } else if (this.#attempts.size === 0) {
      this.#beginFrom(attempt.rank + 1, loss);
    }
  }

  #retryLater(): void {
    clearTimeout(this.#retryTimer);
    if (this.#shown && this.#shown.rank > 0) this.#retryTimer = setTimeout(() => this.#retry(), RETRY);
  }

  #retry(): void {
    // To a page that nobody sees no picture is sent.
    if (document.hidden) {
      this.#retryLater();
      return;
    }
    const most = this.#shown?.rank ?? 0;
    for (let rank = 0; rank < most; rank++) {
      if (!this.#attempts.has(rank) && this.#candidates[rank]?.supported()) this.#begin(rank);
    }
  }

  #drop(attempt: Attempt): void {
    clearTimeout(attempt.timer);
    if (this.#attempts.get(attempt.rank) === attempt) this.#attempts.delete(attempt.rank);
    attempt.transport.disconnect();
    attempt.layer.remove();
  }

  #close(loss: Loss): void {
    if (this.#finished) return;
    this.#finish();
    this.#tell('closed', { loss });
  }

  #finish(): void {
    this.#finished = true;
    this.#abort.abort();
    clearTimeout(this.#retryTimer);
    for (const { timer } of this.#attempts.values()) clearTimeout(timer);
  }

  #tellChoice(): void {
    const shown = this.#shown;
    if (!shown) return;
    const passedOver: Choice['passedOver'][number][] = this.#candidates
      .slice(0, shown.rank)
      .map(({ kind }, rank) => ({ kind, why: this.#passedOver.get(rank) ?? 'refused' }));
    const best = this.#candidates[shown.rank]?.kind ?? 'vnc';
    const kind = shown.carrier?.kind ?? best;
    if (kind !== best && shown.carrier?.why) passedOver.push({ kind: best, why: shown.carrier.why });
    const choice: Choice = { kind, pinned: this.#pinned && kind === best, passedOver };
    this.#tell('chosen', choice);
  }

  #tell<K extends keyof TransportEvents>(event: K, data: TransportEvents[K]): void {
    this.#listener?.(event, data);
  }
}
