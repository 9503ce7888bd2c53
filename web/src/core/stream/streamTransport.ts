// The picture stream as a transport: one canvas in the page, its input and cursor, and an engine that draws on it. It
// begins on a WebSocket; video and input move to WebRTC when that connects, and back when it does not carry any more.

import {
  type Carrier,
  type Loss,
  lossOf,
  type ProofResult,
  type Transport,
  type TransportListener,
  type TransportStats,
} from '../transport';
import { SessionCursor } from './cursor';
import { cachePixels } from './budget';
import type { EngineCommand, EngineEvent, Figures, ViewState } from './engine';
import { type EngineHost, startEngine } from './engineHost';
import { SessionInput } from './input';
import { InputSender } from './inputSender';
import { canConnect, Media } from './media';
import type { ToClient } from './messages';
import { followRefreshRate } from './refresh';
import { decodeToClient } from './wire';

export interface StreamOptions {
  /** The WebSocket of the session's stream, `ws:` or `wss:`. */
  url: string;
  /** Whether to use WebRTC where it connects, and servers that may help with it. */
  webrtc: { iceServers(): Promise<RTCIceServer[]> } | null;
}

/** Milliseconds without WebRTC after which it is late. */
const LATE = 3_000;
/** Milliseconds within which losing two pictures means that the way is no good. */
const TWICE = 10_000;

/** Whether this browser decodes video as far as is known: what failed again and again is not tried again in this page. */
let decodesVideo = true;

export class StreamTransport implements Transport {
  readonly #element: HTMLElement;
  readonly #options: StreamOptions;
  readonly #canvas = document.createElement('canvas');
  readonly #cursor = new SessionCursor(this.#canvas);
  readonly #abort = new AbortController();
  #listener: TransportListener | null = null;
  #host: EngineHost | null = null;
  /** Commands from before the engine was there. */
  #early: EngineCommand[] = [];
  #input: SessionInput | null = null;
  #media: Media | null = null;
  readonly #sender = new InputSender({
    send: (message) => this.#media?.send(message) ?? false,
    give: (events, unsent) => this.#tell({ command: 'input', events, unsent }),
    onDead: () => this.#media?.fail('input is not taken'),
  });
  #carrier: Carrier | null = null;
  #lateTimer: ReturnType<typeof setTimeout> | undefined;
  #missedAt = -Infinity;
  #state: 'new' | 'connecting' | 'open' | 'closed' = 'new';
  #width = 0;
  #height = 0;
  #exact = false;
  /** Hz; what most displays have, until it was measured. */
  #refresh = 60;
  #figures: Figures = { received: 0, bitsPerSecond: 0, fps: 0, rttMs: null, inputToPixelMs: null, agent: null };
  #provers: ((result: ProofResult) => void)[] = [];

  /** The picture fills `element`. */
  constructor(element: HTMLElement, options: StreamOptions) {
    this.#element = element;
    this.#options = options;
  }

  connect(listener: TransportListener): void {
    this.#listener = listener;
    this.#state = 'connecting';
    const canvas = this.#canvas;
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'application');
    canvas.setAttribute('aria-label', 'GIMP');
    // Nothing is seen of it, and nothing below it is hidden, until it has a picture.
    Object.assign(canvas.style, { position: 'absolute', width: '100%', height: '100%', outline: 'none', visibility: 'hidden' });
    this.#element.append(canvas);

    const { signal } = this.#abort;
    const tellView = () => this.#tell({ command: 'view', view: this.#view() });
    document.addEventListener('visibilitychange', tellView, { signal });
    followRefreshRate((rate) => {
      if (rate === this.#refresh) return;
      this.#refresh = rate;
      tellView();
    }, signal);
    const { url } = this.#options;
    const start = { url, canvas, view: this.#view(), cachePixels: cachePixels(), video: decodesVideo };
    startEngine(start, (event) => this.#handle(event)).then(
      (host) => this.#started(host),
      // Its code could not be loaded.
      () => this.#closed('lost'),
    );
  }

  disconnect(): void {
    this.#input?.stop();
    this.#input = null;
    this.#closed('lost');
    this.#cursor.finger = null;
    this.#canvas.remove();
  }

  sendKey(keysym: number, code: string, down?: boolean): void {
    this.#input?.sendKey(keysym, code, down);
  }

  releaseKeys(): void {
    this.#input?.releaseAll();
  }

  sendClipboard(text: string): void {
    this.#sender.keepOrder();
    this.#tell({ command: 'clipboard', text });
  }

  focus(): void {
    this.#canvas.focus({ preventScroll: true });
  }

  setFocusOnClick(on: boolean): void {
    if (this.#input) this.#input.focusOnClick = on;
  }

  ping(): void {
    this.#tell({ command: 'ping' });
  }

  copyPicture(into: HTMLCanvasElement): boolean {
    if (this.#width === 0) return false;
    into.width = this.#width;
    into.height = this.#height;
    into.getContext('2d')?.drawImage(this.#canvas, 0, 0);
    return true;
  }

  stats(): TransportStats {
    return { kind: this.#carrier?.kind ?? 'websocket', exact: this.#exact, ...this.#figures };
  }

  watch(watched: boolean): void {
    this.#tell({ command: 'watched', watched });
  }

  prove(): Promise<ProofResult> {
    if (this.#state !== 'open') return Promise.resolve('moving');
    return new Promise((resolve) => {
      this.#provers.push(resolve);
      this.#tell({ command: 'prove' });
    });
  }

  #started(host: EngineHost): void {
    if (this.#state === 'closed') {
      host.stop();
      return;
    }
    this.#host = host;
    for (const command of this.#early.splice(0)) host.tell(command);
  }

  #tell(command: EngineCommand): void {
    if (this.#state === 'closed') return;
    if (this.#host) this.#host.tell(command);
    else this.#early.push(command);
  }

  #handle(event: EngineEvent): void {
    if (this.#state === 'closed') return;
    switch (event.event) {
      case 'hello':
        this.#greeted(event.webrtc);
        break;
      case 'signal':
        this.#media?.take(event.signal);
        break;
      case 'taken':
        this.#sender.taken(event.number);
        break;
      case 'missed':
        this.#missed();
        break;
      case 'noVideo':
        decodesVideo = false;
        break;
      case 'size':
        this.#width = event.width;
        this.#height = event.height;
        this.#listener?.('size', { width: event.width, height: event.height });
        this.#cursor.scale = this.#scale();
        break;
      case 'open':
        this.#opened();
        break;
      case 'cursor':
        this.#cursor.scale = this.#scale();
        this.#cursor.show(event.cursor);
        break;
      case 'clipboard':
        this.#listener?.('clipboard', { text: event.text });
        break;
      case 'exact':
        this.#exact = event.exact;
        this.#listener?.('exact', { exact: event.exact });
        break;
      case 'figures':
        this.#figures = event.figures;
        break;
      case 'proof':
        for (const resolve of this.#provers.splice(0)) resolve(event.proof);
        break;
      case 'closed':
        this.#closed(lossOf(event.code));
        break;
    }
  }

  #opened(): void {
    this.#state = 'open';
    if (!this.#carrier) this.#carriedBy({ kind: 'websocket', why: null });
    this.#canvas.style.visibility = '';
    this.#input = new SessionInput({
      element: this.#canvas,
      picture: () => ({ width: this.#width, height: this.#height }),
      send: (actions) => this.#sender.take(actions),
      onFinger: (at) => (this.#cursor.finger = at),
    });
    this.#listener?.('open', undefined);
  }

  #greeted(webrtc: boolean): void {
    const wanted = this.#options.webrtc;
    if (!wanted || this.#media) return;
    if (!webrtc || !canConnect()) {
      this.#carriedBy({ kind: 'websocket', why: webrtc ? 'unsupported' : 'refused' });
      return;
    }
    this.#lateTimer = setTimeout(() => this.#carriedBy({ kind: 'websocket', why: 'late' }), LATE);
    this.#media = new Media({
      iceServers: wanted.iceServers,
      signal: (signal) => this.#tell({ command: 'signal', signal }),
      onUnits: (source) => this.#tell({ command: 'units', source }),
      onOpen: (open) => this.#mediaOpen(open),
      onMessage: (data) => this.#heard(data),
    });
  }

  #mediaOpen(open: boolean): void {
    clearTimeout(this.#lateTimer);
    if (open) {
      this.#carriedBy({ kind: 'webrtc', why: null });
      return;
    }
    this.#sender.closed();
    this.#tell({ command: 'units', source: null });
    this.#carriedBy({ kind: 'websocket', why: this.#carrier?.why === 'late' ? 'late' : 'refused' });
  }

  #carriedBy(carrier: Carrier): void {
    if (this.#state === 'closed' || (this.#carrier?.kind === carrier.kind && this.#carrier.why === carrier.why)) return;
    this.#carrier = carrier;
    this.#listener?.('carrier', carrier);
  }

  #heard(data: ArrayBuffer): void {
    let message: ToClient;
    try {
      message = decodeToClient(new Uint8Array(data));
    } catch {
      // As good as lost.
      return;
    }
    if (message.kind !== 'inputTaken') return;
    this.#sender.heard();
    this.#sender.taken(message.number);
  }

  #missed(): void {
    // What was under way when a connection ended says nothing of the next one.
    if (!this.#media?.open) return;
    const now = performance.now();
    if (now - this.#missedAt < TWICE) this.#media.fail('pictures are missed');
    this.#missedAt = now;
  }

  #closed(loss: Loss): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#lateTimer);
    this.#media?.stop();
    this.#sender.stop();
    this.#abort.abort();
    this.#host?.stop();
    for (const resolve of this.#provers.splice(0)) resolve('moving');
    this.#listener?.('closed', { loss });
  }

  #view(): ViewState {
    return { hidden: document.hidden, refresh: this.#refresh };
  }

  #scale(): number {
    const { width } = this.#canvas.getBoundingClientRect();
    return width > 0 ? this.#width / width : window.devicePixelRatio;
  }
}
