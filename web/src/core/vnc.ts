// VNC (RFB) over a WebSocket, drawn by noVNC.

import RFB from '@novnc/novnc';

import { Silence } from './silence';
import { type Loss, lossOf, NO_FIGURES, type ProofResult, type Transport, type TransportListener, type TransportStats } from './transport';

// TigerVNC's best: flat areas exact, photographs as JPEG without chroma subsampling, 4 of 255 away at most.
const QUALITY = 9;
const COMPRESSION = 2;
/** Milliseconds between looks for the first picture. */
const PAINT_POLL = 30;

export class VncTransport implements Transport {
  readonly #element: HTMLElement;
  readonly #url: string;
  #rfb: RFB | null = null;
  #socket: WebSocket | null = null;
  #canvas: HTMLCanvasElement | null = null;
  #observer: MutationObserver | null = null;
  #paintTimer: ReturnType<typeof setTimeout> | undefined;
  #asked = false;
  /** noVNC has disconnected. */
  #gone = false;
  readonly #abort = new AbortController();
  #closed = false;
  #loss: Loss = 'lost';
  #received = 0;
  readonly #silence = new Silence({ ask: () => this.ping(), onSilence: () => this.#end('lost') });
  #listener: TransportListener | null = null;

  /** `url`: the WebSocket of the session, `ws:` or `wss:`. The picture fills `element`, keeping its proportions. */
  constructor(element: HTMLElement, url: string) {
    this.#element = element;
    this.#url = url;
  }

  connect(listener: TransportListener): void {
    this.#listener = listener;
    const socket = new WebSocket(this.#url, ['binary']);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.addEventListener('message', (event: MessageEvent<ArrayBuffer>) => {
      this.#received += event.data.byteLength;
      this.#silence.heard();
    });
    socket.addEventListener('close', (event) => {
      this.#loss = lossOf(event.code);
    });

    const rfb = new RFB(this.#element, socket, { shared: true });
    this.#rfb = rfb;
    rfb.qualityLevel = QUALITY;
    rfb.compressionLevel = COMPRESSION;
    rfb.scaleViewport = true;
    // The screen is asked for over REST: the agent has to create the mode first.
    rfb.resizeSession = false;
    // In noVNC 1.7 a pinch presses Ctrl without the state of the locks, and so toggles Caps Lock and Num Lock each time.
    // Keys of the keyboard do not come this way: they are bound to the method of the class.
    rfb._handleKeyEvent = (keysym, code, down) => rfb.sendKey(keysym, code, down);
    // In noVNC 1.7 a finger puts the corner of the pointer's picture where its hot spot belongs.
    const cursor = rfb._cursor;
    const move = cursor.move.bind(cursor);
    cursor.move = (x, y) => move(x - cursor._hotSpot.x, y - cursor._hotSpot.y);
    // What was there before the first picture shines through until it is drawn.
    rfb.background = 'transparent';

    rfb.addEventListener('connect', () => this.#awaitPaint(listener));
    rfb.addEventListener('clipboard', (event) => listener('clipboard', { text: event.detail.text }));
    rfb.addEventListener('disconnect', () => {
      this.#gone = true;
      this.#end(this.#loss);
    });

    // On Windows noVNC holds Ctrl back until it is known not to be AltGr: it belongs to the click or the wheel. Before noVNC
    // hears of these.
    for (const type of ['mousedown', 'wheel']) {
      const flush = () => rfb._keyboard._interruptAltGrSequence();
      this.#element.addEventListener(type, flush, { capture: true, passive: true, signal: this.#abort.signal });
    }

    const canvas = this.#element.querySelector('canvas');
    this.#canvas = canvas;
    if (!canvas) return;
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'application');
    canvas.setAttribute('aria-label', 'GIMP');
    canvas.addEventListener('blur', () => this.releaseKeys());
    // noVNC tells of a new size only by resizing its canvas.
    this.#observer = new MutationObserver(() => {
      if (canvas.width > 0 && canvas.height > 0) listener('size', { width: canvas.width, height: canvas.height });
    });
    this.#observer.observe(canvas, { attributes: true, attributeFilter: ['width', 'height'] });
  }

  disconnect(): void {
    if (this.#asked) return;
    this.#asked = true;
    clearTimeout(this.#paintTimer);
    this.#silence.stop();
    this.#abort.abort();
    if (!this.#gone) this.#rfb?.disconnect();
    this.#socket?.close();
  }

  sendKey(keysym: number, code: string, down?: boolean): void {
    this.#rfb?._keyboard._interruptAltGrSequence();
    this.#rfb?.sendKey(keysym, code, down);
  }

  // noVNC lets go of its keys when the window loses the focus, and offers no call for it.
  releaseKeys(): void {
    window.dispatchEvent(new FocusEvent('blur'));
  }

  sendClipboard(text: string): void {
    this.#rfb?.clipboardPasteFrom(text);
  }

  focus(): void {
    this.#canvas?.focus({ preventScroll: true });
  }

  setFocusOnClick(on: boolean): void {
    if (this.#rfb) this.#rfb.focusOnClick = on;
  }

  // VNC has no such question; a pixel that is asked for is sent although it has not changed.
  ping(): void {
    const rfb = this.#rfb;
    if (!rfb || this.#asked || this.#closed || this.#socket?.readyState !== WebSocket.OPEN) return;
    RFB.messages.fbUpdateRequest(rfb._sock, false, 0, 0, 1, 1);
    this.#silence.asked();
  }

  copyPicture(into: HTMLCanvasElement): boolean {
    const canvas = this.#canvas;
    if (!canvas || canvas.width === 0 || canvas.height === 0) return false;
    into.width = canvas.width;
    into.height = canvas.height;
    into.getContext('2d')?.drawImage(canvas, 0, 0);
    return true;
  }

  stats(): TransportStats {
    return { kind: 'vnc', received: this.#received, ...NO_FIGURES };
  }

  watch(): void {}

  prove(): Promise<ProofResult> {
    return Promise.resolve('unable');
  }

  #end(loss: Loss): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#paintTimer);
    this.#silence.stop();
    this.#observer?.disconnect();
    this.#listener?.('closed', { loss });
  }

  // The canvas is transparent until noVNC has drawn the first update.
  #awaitPaint(listener: TransportListener): void {
    const probe = document.createElement('canvas');
    probe.width = probe.height = 1;
    const context = probe.getContext('2d', { willReadFrequently: true });
    const look = () => {
      const canvas = this.#canvas;
      if (canvas && context && canvas.width > 0) {
        context.clearRect(0, 0, 1, 1);
        context.drawImage(canvas, canvas.width >> 1, canvas.height >> 1, 1, 1, 0, 0, 1, 1);
        if ((context.getImageData(0, 0, 1, 1).data[3] ?? 0) > 0) {
          listener('open', undefined);
          return;
        }
      }
      this.#paintTimer = setTimeout(look, PAINT_POLL);
    };
    look();
  }
}
