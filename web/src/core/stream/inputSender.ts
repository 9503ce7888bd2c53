// Numbers what a person does and sends it: on the data channel, where a message may be lost, while there is one, else on
// the stream's own channel, where none is. What must not be lost is in every message of the data channel until it is known
// to be taken, also what went on the other channel, which may be slower: see `Input` in crates/protocol/src/stream/messages.rs.

import type { TimedAction } from './engine';
import type { Action, InputEvent } from './messages';
import { encodeToAgent } from './wire';

/** An event and when it happened, milliseconds since the epoch. */
export type SentEvent = InputEvent & { at: number };

export interface InputSenderOptions {
  /** Sends a message that may be lost; false when that is not possible now. */
  send(message: Uint8Array<ArrayBuffer>): boolean;
  /** Hears of new events; sends `unsent` on the channel that loses nothing. */
  give(events: readonly SentEvent[], unsent: readonly InputEvent[]): void;
  /** What is sent is taken by the other channel only: the data channel carries nothing. */
  onDead(): void;
}

/** Milliseconds between messages while there are only moves: a mouse may make a thousand a second. */
const PACE = 8;
/** Messages that repeat a stroke's moves whole; then, while they are not taken, the last of each message is its line. */
const WHOLE = 6;
/** Milliseconds until what is not known to be taken is sent again: half as long again as an answer takes, within these. */
const SOONEST = 20;
const LATEST = 300;
/** Weight of a new measurement. */
const WEIGHT = 0.2;
/** Milliseconds without an answer after which everything goes the other way too: the data channel may be dead. */
const DOUBTFUL = 1_000;
/** Milliseconds for its own answer, when what was sent both ways was taken by the other. Then it is dead. */
const GRACE = 500;
/** Events that wait to be taken; more have been lost on the way. */
const MOST_WAITING = 1_000;

export class InputSender {
  readonly #options: InputSenderOptions;
  #number = 0;
  /** Moves that wait for the next message. */
  #waiting: SentEvent[] = [];
  #paceTimer: ReturnType<typeof setTimeout> | undefined;
  #flushedAt = -Infinity;
  /** In order of their numbers. */
  #untaken: InputEvent[] = [];
  /** The newest event of each of the last messages. */
  #messages: number[] = [0];
  /** Events up to this one were given to the channel that loses nothing. */
  #given = 0;
  /** Until this one is taken nothing goes on the data channel. */
  #inOrder: number | null = null;
  #held = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waitingSince: number | null = null;
  /** The newest event when the data channel became doubtful. */
  #doubted: number | null = null;
  #deadTimer: ReturnType<typeof setTimeout> | undefined;
  /** When an event was sent first, until it is known to be taken. */
  #timed: { number: number; at: number } | null = null;
  /** Milliseconds. */
  #answerTakes = 40;

  constructor(options: InputSenderOptions) {
    this.#options = options;
  }

  take(actions: readonly TimedAction[]): void {
    for (const { at, ...action } of actions) {
      this.#waiting.push({ number: ++this.#number, atUs: at % 0x1_0000_0000, at: at / 1000, ...action });
    }
    const wait = this.#flushedAt + PACE - performance.now();
    // A click or a key never waits, and takes the moves before it along.
    if (wait <= 0 || this.#waiting.some(({ action }) => action !== 'move')) this.#flush();
    else this.#paceTimer ??= setTimeout(() => this.#flush(), wait);
  }

  #flush(): void {
    clearTimeout(this.#paceTimer);
    this.#paceTimer = undefined;
    this.#flushedAt = performance.now();
    const events = this.#waiting;
    this.#waiting = [];
    const message = [...this.#untaken, ...events.map(({ at: _at, ...event }) => event)];
    for (const event of message.slice(this.#untaken.length)) this.#keep(event);
    const sent = this.#inOrder === null && message.length <= MOST_WAITING && this.#send(message);
    if (sent && this.#doubted === null) this.#options.give(events, []);
    else this.#give(events, message);
    this.#untaken.splice(0, this.#untaken.length - MOST_WAITING);
    this.#thin();
  }

  /** A line that was repeated often enough is kept as its points a few milliseconds apart. */
  #thin(): void {
    this.#messages.push(this.#number);
    if (this.#messages.length <= WHOLE) return;
    const [before = 0, last = 0] = this.#messages;
    this.#messages.shift();
    this.#untaken = this.#untaken.filter(({ number, action }) => action !== 'move' || number <= before || number >= last);
  }

  /** What comes from now on must not be taken before what was said on the other channel: a paste not before its text. */
  keepOrder(): void {
    this.#inOrder = this.#number + 1;
  }

  /** The agent has taken every event up to this one that it was sent. */
  taken(number: number): void {
    this.#untaken = this.#untaken.filter((event) => event.number > number);
    if (this.#inOrder !== null && number >= this.#inOrder) this.#inOrder = null;
    if (this.#timed && number >= this.#timed.number) {
      this.#answerTakes += (performance.now() - this.#timed.at - this.#answerTakes) * WEIGHT;
      this.#timed = null;
    }
    this.#waitingSince = this.#untaken.length > 0 ? performance.now() : null;
    if (this.#untaken.length === 0) this.#stopTimer();
    if (this.#doubted !== null && number >= this.#doubted) this.#deadTimer ??= setTimeout(() => this.#options.onDead(), GRACE);
  }

  /** The data channel brought an answer. */
  heard(): void {
    this.#doubted = null;
    clearTimeout(this.#deadTimer);
    this.#deadTimer = undefined;
  }

  /** The data channel is gone: what may have been lost with it is sent on the other. */
  closed(): void {
    if (this.#waiting.length > 0) this.#flush();
    this.#give([], this.#untaken);
    this.stop();
  }

  stop(): void {
    clearTimeout(this.#paceTimer);
    this.#paceTimer = undefined;
    this.heard();
    this.#waitingSince = null;
    this.#timed = null;
    this.#stopTimer();
  }

  #give(events: readonly SentEvent[], message: readonly InputEvent[]): void {
    const unsent = message.filter(({ number }) => number > this.#given);
    this.#given = unsent.at(-1)?.number ?? this.#given;
    if (events.length + unsent.length > 0) this.#options.give(events, unsent);
  }

  // Every key and button; of moves those of a stroke, and the newest, for that is where the pointer is.
  #keep(event: InputEvent): void {
    const last = this.#untaken.at(-1);
    if (last?.action === 'move' && this.#held.size === 0 && event.action === 'move') this.#untaken.pop();
    this.#hold(event);
    this.#untaken.push(event);
  }

  #hold(action: Action): void {
    if (action.action === 'button' && action.down) this.#held.add(action.button);
    else if (action.action === 'button') this.#held.delete(action.button);
    else if (action.action === 'releaseAll') this.#held.clear();
  }

  #send(events: readonly InputEvent[]): boolean {
    if (!this.#options.send(encodeToAgent({ kind: 'input', events }))) return false;
    const now = performance.now();
    this.#timed ??= { number: events.at(-1)?.number ?? this.#number, at: now };
    this.#waitingSince ??= now;
    this.#timer ??= setTimeout(() => this.#again(), Math.min(LATEST, Math.max(SOONEST, this.#answerTakes * 1.5)));
    return true;
  }

  #again(): void {
    this.#timer = undefined;
    const from = this.#inOrder;
    const again = from === null ? this.#untaken : this.#untaken.filter(({ number }) => number < from);
    // The others are on the channel that loses nothing.
    if (again.length === 0) {
      this.#waitingSince = null;
      return;
    }
    if (this.#waitingSince !== null && performance.now() - this.#waitingSince > DOUBTFUL) this.#doubt();
    if (!this.#send(again)) this.closed();
  }

  // The agent or this page may have stood still as well, and then the other way is as silent.
  #doubt(): void {
    this.#doubted ??= this.#untaken.at(-1)?.number ?? null;
    this.#give([], this.#untaken);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
