// One connection of the picture stream: its WebSocket, its painter, its figures. Knows nothing of the page around it: what it
// is told and what it tells are plain objects.

import { type AgentFigures, NOT_UNDERSTOOD, type ProofResult } from '../transport';
import { Silence } from '../silence';
import { Latency } from './latency';
import type { SentEvent } from './inputSender';
import {
  type Action,
  type CursorImage,
  type InputEvent,
  type Proof,
  type Signal,
  STREAM_VERSION,
  TILES_VERSION,
  type ToAgent,
  type ToClient,
  type Update,
} from './messages';
import { Painter } from './painter';
import { sharedNow as now } from './ring';
import { openSocket } from './ringSocket';
import { RtpDecoder, type UnitSource } from './rtp';
import type { StreamSocket } from './socket';
import { CanvasSurface, readsTruly } from './surface';
import { TileCache } from './tileCache';
import { TileDecoder } from './tiles';
import { supportedVideo, WebCodecsDecoder } from './video';
import { decodeToClient, encodeToAgent, WireError } from './wire';

/** An action and when it happened, microseconds since the epoch. */
export type TimedAction = Action & { at: number };

export type EngineCommand =
  | { command: 'start'; url: string; canvas: HTMLCanvasElement; view: ViewState; cachePixels: number; video: boolean }
  /** What a person did; `unsent` is sent on this channel, the others went another way. */
  | { command: 'input'; events: readonly SentEvent[]; unsent: readonly InputEvent[] }
  /** For the agent. */
  | { command: 'signal'; signal: Signal }
  /** Where access units come from that are not in their updates; none: they do not come any more. */
  | { command: 'units'; source: UnitSource | null }
  | { command: 'clipboard'; text: string }
  | { command: 'view'; view: ViewState }
  | { command: 'prove' }
  /** Is anybody there? */
  | { command: 'ping' }
  /** Whether figures are looked at: then the round trip is measured all the time. */
  | { command: 'watched'; watched: boolean }
  | { command: 'stop' };

export interface ViewState {
  hidden: boolean;
  /** Hz. */
  refresh: number;
}

export type EngineEvent =
  /** The agent answers; `webrtc`: offers of WebRTC as well. */
  | { event: 'hello'; webrtc: boolean }
  | { event: 'signal'; signal: Signal }
  /** Events up to this one were taken. */
  | { event: 'taken'; number: number }
  /** An access unit named by an update does not come. */
  | { event: 'missed' }
  /** This browser says that it decodes video, and does not: the next connection should do without. Closed follows. */
  | { event: 'noVideo' }
  /** The first picture is drawn. */
  | { event: 'open' }
  /** The last one, with the WebSocket's close code. */
  | { event: 'closed'; code: number }
  | { event: 'size'; width: number; height: number }
  | { event: 'cursor'; cursor: CursorImage }
  | { event: 'clipboard'; text: string }
  | { event: 'exact'; exact: boolean }
  | { event: 'figures'; figures: Figures }
  | { event: 'proof'; proof: ProofResult };

export interface Figures {
  /** Bytes since the beginning. */
  received: number;
  bitsPerSecond: number;
  /** Updates drawn in the last second. */
  fps: number;
  rttMs: number | null;
  inputToPixelMs: { p50: number; p95: number } | null;
  agent: AgentFigures | null;
}

/** Milliseconds between pings while something happens or figures are looked at. */
const PING = 2_000;
/** Milliseconds until figures are told that changed. */
const TELL = 500;
/** A picture lost so often within `LOSSES_WITHIN` milliseconds will not be found again. */
const MOST_LOSSES = 5;
const LOSSES_WITHIN = 10_000;
/** A decoder that failed so often within `FAILURES_WITHIN` milliseconds will fail again. */
const MOST_FAILURES = 3;
const FAILURES_WITHIN = 60_000;
/** Milliseconds for which a picture that keeps changing is asked about, and between the questions. */
const PROVE_FOR = 4_000;
const PROVE_AGAIN = 200;
/** Milliseconds after which no answer is an answer. */
const PROVE_LONGEST = PROVE_FOR + 4_000;
/** Milliseconds until an access unit is given up that could have been sent again meanwhile, beside three round trips. */
const SHORTEST_PATIENCE = 150;
const LONGEST_PATIENCE = 600;
/** Close code of who leaves. */
const NORMAL = 1000;
/** What browsers say of a connection that broke off; none may be closed with it. */
const BROKEN_OFF = 1006;

export class StreamEngine {
  readonly #tell: (event: EngineEvent) => void;
  readonly #latency = new Latency();
  readonly #silence = new Silence({ ask: () => this.#ping(), onSilence: () => this.#stop(BROKEN_OFF) });
  #socket: StreamSocket | null = null;
  #painter: Painter | null = null;
  #surface: CanvasSurface | null = null;
  #video: RtpDecoder | null = null;
  #units: UnitSource | null = null;
  /** Messages that came before the decoders were ready. */
  #early: { data: ArrayBuffer; arrived: number }[] | null = [];
  #view: ViewState = { hidden: false, refresh: 60 };
  #opened = false;
  #stopped = false;
  #exact = false;
  #losses: number[] = [];
  #failures: number[] = [];
  #proveUntil = 0;
  #proveTimer: ReturnType<typeof setTimeout> | undefined;
  #received = 0;
  /** Arrival and length of the last second's messages, and when its updates were drawn. */
  #arrivals: { at: number; bytes: number }[] = [];
  #paints: number[] = [];
  #rtt: number | null = null;
  #agent: AgentFigures | null = null;
  #pinged: { id: number; at: number } | null = null;
  #pings = 0;
  #active = false;
  #watched = false;
  #pingTimer: ReturnType<typeof setTimeout> | undefined;
  #tellTimer: ReturnType<typeof setTimeout> | undefined;

  /** `tell` may be called from inside `take`, but not from inside `start`. */
  constructor(tell: (event: EngineEvent) => void) {
    this.#tell = tell;
  }

  take(command: EngineCommand): void {
    switch (command.command) {
      case 'start':
        this.#start(command);
        break;
      case 'input':
        this.#input(command.events, command.unsent);
        break;
      case 'signal':
        this.#send({ kind: 'signal', signal: command.signal });
        break;
      case 'units':
        this.#listen(command.source);
        break;
      case 'clipboard':
        this.#send({ kind: 'clipboard', text: command.text });
        break;
      case 'view':
        this.#view = command.view;
        // Who is told that nobody looks sends no first picture.
        if (this.#opened) this.#send({ kind: 'view', ...command.view });
        break;
      case 'prove':
        this.#proveUntil = now() + PROVE_FOR;
        clearTimeout(this.#proveTimer);
        this.#proveTimer = setTimeout(() => this.#tellProof('moving'), PROVE_LONGEST);
        this.#send({ kind: 'prove', id: 1 });
        break;
      case 'ping':
        this.#ping();
        break;
      case 'watched':
        this.#watched = command.watched;
        this.#stir();
        break;
      case 'stop':
        this.#stop(NORMAL);
        break;
    }
  }

  #start({ url, canvas, view, cachePixels, video: wanted }: Extract<EngineCommand, { command: 'start' }>): void {
    this.#view = view;
    const decoders = Promise.all([TileDecoder.create(), wanted ? supportedVideo() : []]);
    decoders.then(([tiles]) => this.#ready(canvas, tiles, new TileCache(cachePixels))).catch(() => this.#stop(NOT_UNDERSTOOD));

    this.#socket = openSocket(url, {
      opened: () => {
        decoders.then(
          ([, video]) => this.#send({ kind: 'hello', version: STREAM_VERSION, video, cachePixels, refresh: this.#view.refresh, tiles: TILES_VERSION }),
          () => undefined,
        );
      },
      message: (data, arrived) => {
        if (data) this.#arrived(data, arrived);
        else this.#stop(NOT_UNDERSTOOD);
      },
      closed: (code) => this.#closed(code),
    });
  }

  #ready(canvas: HTMLCanvasElement, tiles: TileDecoder, cache: TileCache): void {
    if (this.#stopped) return;
    const surface = new CanvasSurface(canvas, () => painter.lose('the canvas was lost'));
    const patience = () => Math.min(LONGEST_PATIENCE, SHORTEST_PATIENCE + 3 * (this.#rtt ?? LONGEST_PATIENCE));
    const video = new RtpDecoder(new WebCodecsDecoder((error) => this.#videoFailed(error)), patience, (error) => {
      painter.lose(error);
      this.#tell({ event: 'missed' });
    });
    const painter = new Painter({
      surface,
      tiles,
      video,
      cache,
      now,
      onDrawn: (seq, took) => {
        this.#send({ kind: 'drawn', seq, tookUs: Math.min(0xffff_ffff, Math.max(0, Math.round(took * 1000))) });
        this.#tellExact();
      },
      onPainted: (update) => this.#painted(update),
      onSize: (width, height) => this.#tell({ event: 'size', width, height }),
      onLost: (reason) => this.#lost(reason),
    });
    this.#painter = painter;
    this.#surface = surface;
    this.#video = video;
    const early = this.#early ?? [];
    this.#early = null;
    for (const { data, arrived } of early) this.#message(data, arrived);
  }

  #arrived(data: ArrayBuffer, arrived: number): void {
    if (this.#stopped) return;
    this.#silence.heard();
    this.#count(data.byteLength, arrived);
    if (this.#early) this.#early.push({ data, arrived });
    else this.#message(data, arrived);
  }

  #count(bytes: number, at: number): void {
    this.#received += bytes;
    this.#arrivals.push({ at, bytes });
  }

  #message(data: ArrayBuffer, arrived: number): void {
    let message: ToClient;
    try {
      message = decodeToClient(new Uint8Array(data));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      console.warn(`The picture stream makes no sense: ${error.message}`);
      this.#stop(NOT_UNDERSTOOD);
      return;
    }
    switch (message.kind) {
      case 'hello':
        if (message.version !== STREAM_VERSION) this.#stop(NOT_UNDERSTOOD);
        else {
          this.#tell({ event: 'hello', webrtc: message.webrtc });
          this.#stir();
        }
        break;
      case 'update':
        this.#painter?.take(message, arrived);
        this.#stir();
        break;
      case 'cursor':
        this.#cursor(message);
        break;
      case 'clipboard':
        this.#tell({ event: 'clipboard', text: message.text });
        break;
      case 'pong':
        if (message.id === this.#pinged?.id) {
          this.#rtt = arrived - this.#pinged.at;
          this.#pinged = null;
        }
        break;
      case 'proof':
        this.#prove(message).catch(() => this.#tellProof('unable'));
        break;
      case 'stats':
        this.#agent = { tilesMs: message.tilesMs, videoMs: message.videoMs };
        break;
      case 'inputTaken':
        this.#tell({ event: 'taken', number: message.number });
        break;
      case 'signal':
        this.#tell({ event: 'signal', signal: message.signal });
        break;
    }
  }

  #painted(update: Update): void {
    const at = now();
    this.#paints.push(at);
    if (update.ops.length === 0) return;
    this.#latency.shown(update.input, at);
    if (this.#opened) return;
    this.#opened = true;
    this.#send({ kind: 'view', ...this.#view });
    this.#tell({ event: 'open' });
  }

  #lost(reason: unknown): void {
    console.warn('The picture is asked for anew:', reason);
    const at = now();
    this.#losses = [...this.#losses.filter((loss) => at - loss < LOSSES_WITHIN), at];
    if (this.#losses.length > MOST_LOSSES) this.#stop(NOT_UNDERSTOOD);
    else this.#send({ kind: 'refresh' });
    this.#tellExact();
  }

  #videoFailed(error: unknown): void {
    const at = now();
    this.#failures = [...this.#failures.filter((failure) => at - failure < FAILURES_WITHIN), at];
    if (this.#failures.length < MOST_FAILURES) {
      this.#painter?.lose(error);
      return;
    }
    console.warn('This browser does not decode video:', error);
    this.#tell({ event: 'noVideo' });
    this.#stop(BROKEN_OFF);
  }

  #tellExact(): void {
    const exact = this.#painter?.exact ?? false;
    if (exact === this.#exact) return;
    this.#exact = exact;
    this.#tell({ event: 'exact', exact });
  }

  #cursor({ hotX, hotY, width, height, rgba }: CursorImage): void {
    // Else all of the message would be kept with a part of it.
    this.#tell({ event: 'cursor', cursor: { hotX, hotY, width, height, rgba: rgba.slice() } });
  }

  async #prove(proof: Proof): Promise<void> {
    const surface = this.#surface;
    if (!('subtle' in crypto) || !readsTruly()) {
      this.#tellProof('unable');
      return;
    }
    if (!surface || this.#painter?.settledAt !== proof.seq) {
      // A mark on a ruler may have followed the pointer.
      if (now() < this.#proveUntil) setTimeout(() => this.#send({ kind: 'prove', id: 1 }), PROVE_AGAIN);
      else this.#tellProof('moving');
      return;
    }
    const sameSize = surface.width === proof.width && surface.height === proof.height;
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', surface.read()));
    const same = sameSize && digest.every((byte, i) => byte === proof.sha256[i]);
    this.#tellProof(same ? 'same' : 'different');
  }

  #tellProof(proof: ProofResult): void {
    if (this.#stopped) return;
    clearTimeout(this.#proveTimer);
    this.#tell({ event: 'proof', proof });
  }

  #input(events: readonly SentEvent[], unsent: readonly InputEvent[]): void {
    for (const event of events) if (mayShow(event)) this.#latency.sent(event.number, event.at);
    if (unsent.length > 0) this.#send({ kind: 'input', events: unsent });
    this.#stir();
  }

  #listen(source: UnitSource | null): void {
    this.#units?.close();
    this.#units = source;
    if (!source) this.#video?.end();
    source?.listen((unit, arrived) => {
      this.#count(unit.data.byteLength, arrived);
      this.#video?.arrived(unit);
    });
  }

  #send(message: ToAgent): void {
    this.#socket?.send(encodeToAgent(message));
  }

  /** Something happened: figures will be told, and the round trip is worth measuring. Being pinged is nothing. */
  #stir(): void {
    if (this.#stopped) return;
    this.#active = true;
    this.#tellTimer ??= setTimeout(() => this.#tellFigures(), TELL);
    this.#pingTimer ??= setTimeout(() => this.#pingOn(), PING);
  }

  #pingOn(): void {
    this.#pingTimer = this.#active || this.#watched ? setTimeout(() => this.#pingOn(), PING) : undefined;
    if (this.#pingTimer !== undefined) this.#ping();
    this.#active = false;
  }

  #ping(): void {
    if (this.#stopped) return;
    this.#pinged = { id: ++this.#pings, at: now() };
    this.#send({ kind: 'ping', id: this.#pings });
    // The first picture has a limit of its own.
    if (this.#opened) this.#silence.asked();
  }

  #tellFigures(): void {
    this.#tellTimer = undefined;
    const since = now() - 1000;
    this.#arrivals = this.#arrivals.filter(({ at }) => at > since);
    this.#paints = this.#paints.filter((at) => at > since);
    this.#tell({
      event: 'figures',
      figures: {
        received: this.#received,
        bitsPerSecond: this.#arrivals.reduce((sum, { bytes }) => sum + bytes * 8, 0),
        fps: this.#paints.length,
        rttMs: this.#rtt,
        inputToPixelMs: this.#latency.percentiles(),
        agent: this.#agent,
      },
    });
    // Once more after it has become still, so that the rates go to zero.
    if (this.#watched || this.#arrivals.length > 0) this.#tellTimer = setTimeout(() => this.#tellFigures(), TELL);
  }

  #stop(code: number): void {
    if (this.#stopped) return;
    // A closing handshake can take long when the network is gone.
    this.#socket?.close(code === BROKEN_OFF ? undefined : code);
    this.#closed(code);
  }

  #closed(code: number): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#silence.stop();
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#tellTimer);
    clearTimeout(this.#proveTimer);
    this.#painter?.stop();
    this.#units?.close();
    this.#tell({ event: 'closed', code });
  }
}

/** What is let go seldom changes the picture: a later change would be taken for its effect. */
function mayShow(action: Action): boolean {
  switch (action.action) {
    case 'key':
    case 'button':
      return action.down;
    case 'releaseAll':
      return false;
    default:
      return true;
  }
}
