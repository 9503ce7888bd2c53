// Keeps one session's picture connected: makes a transport, and another after a loss, until the session has ended or
// the page leaves. `#setState` is the only writer of the state.
//
//   idle -> connecting -> connected -> reconnecting -> connected ...
//              |  ^           |  |           |
//              |  +-- reopen -+  |           |
//              +-----------------+-----------+--> ended (for good)

import { backoff, type BackoffLimits } from './backoff';
import type { Choice, Loss, PictureSize, Transport, TransportEvents, TransportListener } from './transport';

export type EndCause =
  /** `close` was called. */
  | 'closed'
  | 'sessionEnded'
  | 'signedOut';

export type ConnectionState =
  | { kind: 'idle' }
  | { kind: 'connecting' }
  | { kind: 'connected' }
  /** `retryAt` (milliseconds since the epoch) is null while an attempt is under way. */
  | { kind: 'reconnecting'; loss: Loss; failures: number; retryAt: number | null }
  | { kind: 'ended'; cause: EndCause };

/** What the server says of the session after a loss. */
export type Probe = 'running' | 'ended' | 'signedOut' | 'unreachable';

export interface ConnectionOptions {
  makeTransport(): Transport;
  /** Asked before every attempt after the first, and when nothing came for a while. Must not reject, and must not take long. */
  probe(): Promise<Probe>;
  onState(state: ConnectionState): void;
  onSize(size: PictureSize): void;
  onExact(exact: boolean): void;
  onChosen(choice: Choice): void;
  onClipboard(text: string): void;
  /** The transport on the screen is gone or about to go; its picture can still be copied. */
  onLost(transport: Transport): void;
  limits?: BackoffLimits;
}

/** A transport that has not opened by then is given up, milliseconds. */
const OPEN_TIMEOUT = 15_000;
/** A network that vanishes closes no WebSocket: after so long without a byte session and server are asked, milliseconds. */
const QUIET = 15_000;
/** The server told, so it is there to be asked what comes next, and at once. */
const TOLD: readonly Loss[] = ['sessionEnded', 'signedOut', 'serverRestarting'];
const LIMITS: BackoffLimits = { first: 400, longest: 8_000 };

export class Connection {
  #state: ConnectionState = { kind: 'idle' };
  #transport: Transport | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Rises with every attempt and at the end, so that answers to earlier questions are known to be stale. */
  #attempt = 0;
  readonly #options: ConnectionOptions;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** The transport that is open or being opened. */
  get transport(): Transport | null {
    return this.#transport;
  }

  start(): void {
    if (this.#state.kind !== 'idle') return;
    this.#setState({ kind: 'connecting' });
  }

  /** Tries at once instead of waiting for the next attempt. */
  retryNow(): void {
    if (this.#state.kind !== 'reconnecting' || this.#state.retryAt === null) return;
    this.#setState({ ...this.#state, retryAt: null });
  }

  /** The network may be another, or the page was away: nothing that is open is trusted, and nothing is waited for. */
  check(): void {
    if (this.#state.kind === 'connected') this.#transport?.ping();
    else this.retryNow();
  }

  /** Begins anew with another transport: the person wants another one. */
  reopen(): void {
    switch (this.#state.kind) {
      case 'connected':
        if (this.#transport) this.#options.onLost(this.#transport);
        this.#drop();
        this.#setState({ kind: 'connecting' });
        break;
      case 'connecting':
        this.#drop();
        this.#setState({ kind: 'connecting' });
        break;
      // An attempt that is under way is one with the transport of before.
      case 'reconnecting':
        this.#setState({ ...this.#state, retryAt: null });
        break;
      case 'idle':
      case 'ended':
        break;
    }
  }

  /** Ends for good: the page leaves, or knows that the session has ended. */
  close(cause: EndCause): void {
    if (this.#state.kind === 'connected' && this.#transport) this.#options.onLost(this.#transport);
    this.#setState({ kind: 'ended', cause });
  }

  #setState(state: ConnectionState): void {
    if (this.#state.kind === 'ended') return;
    clearTimeout(this.#timer);
    this.#state = state;

    switch (state.kind) {
      case 'idle':
        break;
      case 'connected':
        this.#watch();
        break;
      case 'connecting':
        this.#open();
        break;
      case 'reconnecting':
        this.#drop();
        if (state.retryAt === null) {
          void this.#probeThenOpen(state);
        } else {
          this.#timer = setTimeout(() => this.retryNow(), Math.max(0, state.retryAt - Date.now()));
        }
        break;
      case 'ended':
        this.#drop();
        break;
    }
    this.#options.onState(state);
  }

  #watch(): void {
    const transport = this.#transport;
    const attempt = this.#attempt;
    const received = transport?.stats().received;
    this.#timer = setTimeout(async () => {
      if (!transport || attempt !== this.#attempt) return;
      const quiet = transport.stats().received === received;
      // The server may answer, by a connection of its own, while the session's is dead: the transport finds that out.
      if (quiet) transport.ping();
      const probe = quiet ? await this.#options.probe() : 'running';
      if (attempt !== this.#attempt) return;
      if (probe === 'running') this.#watch();
      else if (probe === 'unreachable') this.#lost(transport, 'lost');
      else this.close(probe === 'ended' ? 'sessionEnded' : 'signedOut');
    }, QUIET);
  }

  #drop(): void {
    this.#attempt++;
    const transport = this.#transport;
    this.#transport = null;
    transport?.disconnect();
  }

  async #probeThenOpen({ loss, failures }: { loss: Loss; failures: number }): Promise<void> {
    const attempt = this.#attempt;
    const probe = await this.#options.probe();
    if (attempt !== this.#attempt) return;
    switch (probe) {
      case 'running':
        this.#open();
        break;
      case 'ended':
        this.#setState({ kind: 'ended', cause: 'sessionEnded' });
        break;
      case 'signedOut':
        this.#setState({ kind: 'ended', cause: 'signedOut' });
        break;
      case 'unreachable':
        this.#fail(loss, failures + 1);
        break;
    }
  }

  #open(): void {
    const attempt = ++this.#attempt;
    const transport = this.#options.makeTransport();
    this.#transport = transport;
    this.#timer = setTimeout(() => {
      if (attempt === this.#attempt) this.#lost(transport, 'lost');
    }, OPEN_TIMEOUT);
    const listener: TransportListener = (event, data) => {
      if (attempt === this.#attempt) this.#handle(transport, event, data);
    };
    transport.connect(listener);
  }

  #handle<K extends keyof TransportEvents>(transport: Transport, event: K, data: TransportEvents[K]): void {
    switch (event) {
      case 'open':
        this.#setState({ kind: 'connected' });
        break;
      case 'closed':
        this.#lost(transport, (data as TransportEvents['closed']).loss);
        break;
      case 'size':
        this.#options.onSize(data as TransportEvents['size']);
        break;
      case 'exact':
        this.#options.onExact((data as TransportEvents['exact']).exact);
        break;
      case 'chosen':
        this.#options.onChosen(data as TransportEvents['chosen']);
        break;
      case 'clipboard':
        this.#options.onClipboard((data as TransportEvents['clipboard']).text);
        break;
    }
  }

  #lost(transport: Transport, loss: Loss): void {
    if (this.#state.kind === 'connected') this.#options.onLost(transport);
    if (this.#state.kind === 'reconnecting') this.#fail(loss, this.#state.failures + 1);
    else if (TOLD.includes(loss)) this.#setState({ kind: 'reconnecting', loss, failures: 0, retryAt: null });
    else this.#fail(loss, 1);
  }

  #fail(loss: Loss, failures: number): void {
    const wait = backoff(failures, this.#options.limits ?? LIMITS);
    this.#setState({ kind: 'reconnecting', loss, failures, retryAt: Date.now() + wait });
  }
}
