// One session on the screen: the picture, kept connected and as large as its window, with keyboard and clipboard.
// Knows nothing of the page around it.

import { Clipboard, isTooLong } from './clipboard';
import { Connection, type ConnectionState, type EndCause, type Probe } from './connection';
import { type Chord, keysym, keysymOf, pasteChord, pressChord } from './keys';
import { TrackpadPinch } from './pinch';
import { place, ScreenFollower, type ScreenSize, type Viewport } from './screen';
import type { Choice, PictureSize, ProofResult, TransportFactory, TransportStats } from './transport';

export interface SessionViewOptions {
  /** Filled by the session; must be positioned and be empty. */
  element: HTMLElement;
  makeTransport: TransportFactory;
  probe(): Promise<Probe>;
  requestScreen(screen: ScreenSize): Promise<unknown>;
  onState(state: ConnectionState): void;
  /** `oneToOne`: one pixel of the session is one pixel of the display. */
  onPicture(picture: PictureSize, oneToOne: boolean): void;
  /** Whether the picture is the session's screen, pixel by pixel. */
  onExact(exact: boolean): void;
  onChosen(choice: Choice): void;
  onRemoteText(text: string, written: boolean): void;
  /** A text is longer than what the session takes. */
  onTooLong(): void;
  /** A picture from elsewhere is pasted onto the session. */
  onImage(image: File): void;
  /** Ctrl+Alt+Shift+M: the way out of the picture for those who use no mouse. */
  onLeavePicture(): void;
}

export class SessionView {
  readonly #options: SessionViewOptions;
  readonly #connection: Connection;
  readonly #follower: ScreenFollower;
  readonly #clipboard: Clipboard;
  readonly #pinch: TrackpadPinch;
  readonly #abort = new AbortController();
  /** Exactly where the picture is. */
  readonly #stage: HTMLElement;
  /** The last picture, below the live one until that is drawn again. */
  readonly #last: HTMLCanvasElement;
  #picture: PictureSize | null = null;
  #oneToOne = true;
  #watched = false;
  #focusOnClick = true;
  #viewport: Viewport;

  constructor(options: SessionViewOptions) {
    this.#options = options;
    const { element } = options;

    this.#stage = document.createElement('div');
    this.#last = document.createElement('canvas');
    const live = document.createElement('div');
    this.#stage.style.position = 'absolute';
    this.#stage.style.inset = '0';
    for (const layer of [this.#last, live]) {
      Object.assign(layer.style, { position: 'absolute', left: '0', top: '0', width: '100%', height: '100%' });
    }
    this.#last.setAttribute('aria-hidden', 'true');
    this.#stage.append(live);
    element.append(this.#stage);

    this.#connection = new Connection({
      makeTransport: () => options.makeTransport(live),
      probe: options.probe,
      onState: (state) => this.#stateChanged(state),
      onSize: (size) => {
        this.#picture = size;
        this.#place();
      },
      onExact: options.onExact,
      onChosen: options.onChosen,
      onClipboard: (text) => void this.#clipboard.remoteText(text),
      onLost: (transport) => {
        if (transport.copyPicture(this.#last)) this.#stage.prepend(this.#last);
      },
    });
    this.#clipboard = new Clipboard({
      element,
      send: (text) => this.#connection.transport?.sendClipboard(text),
      typePaste: (shift) => this.sendKey(keysymOf(shift ? 'V' : 'v'), 'KeyV'),
      typeWholePaste: (shift) => this.sendChord(pasteChord(shift)),
      onRemoteText: options.onRemoteText,
      onTooLong: options.onTooLong,
      onImage: options.onImage,
    });
    this.#pinch = new TrackpadPinch(element, (down) => this.sendKey(keysym.control, 'ControlLeft', down));
    this.#follower = new ScreenFollower({
      element,
      request: options.requestScreen,
      onViewport: (viewport) => {
        this.#viewport = viewport;
        this.#place();
      },
    });
    this.#viewport = this.#follower.viewport;

    const signal = this.#abort.signal;
    // Of several windows on one session, the one in use decides on its screen.
    window.addEventListener('focus', () => !this.#oneToOne && this.#follower.insist(), { signal });
    window.addEventListener('online', () => this.#connection.check(), { signal });
    document.addEventListener('visibilitychange', () => !document.hidden && this.#connection.check(), { signal });
    element.addEventListener('keydown', (event) => this.#keydown(event), { signal, capture: true });
    // What had the focus may be gone: then it is nobody's.
    document.addEventListener('keydown', (event) => event.target === document.body && this.#keydown(event), { signal, capture: true });
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  start(): void {
    this.#connection.start();
  }

  retryNow(): void {
    this.#connection.retryNow();
  }

  /** The session is known to be over or the user signed out; the last picture stays. */
  end(cause: EndCause): void {
    this.#connection.close(cause);
  }

  /** Takes everything down. */
  destroy(): void {
    this.#abort.abort();
    this.#clipboard.stop();
    this.#pinch.stop();
    this.#connection.close('closed');
    this.#follower.stop();
    this.#stage.remove();
  }

  focus(): void {
    this.#connection.transport?.focus();
  }

  sendKey(keysym: number, code: string, down?: boolean): void {
    this.#connection.transport?.sendKey(keysym, code, down);
  }

  sendChord(chord: Chord): void {
    this.#connection.transport?.releaseKeys();
    pressChord(chord, (key, down) => this.sendKey(key.keysym, key.code, down));
  }

  /** False when it was not sent. */
  sendText(text: string): boolean {
    if (isTooLong(text)) {
      this.#options.onTooLong();
      return false;
    }
    this.#connection.transport?.sendClipboard(text);
    return true;
  }

  /** While the on-screen keyboard is shown, touching the picture must not take the focus from it. */
  set focusOnClick(on: boolean) {
    this.#focusOnClick = on;
    this.#connection.transport?.setFocusOnClick(on);
  }

  /** Begins anew with a transport made now. */
  reopen(): void {
    this.#connection.reopen();
  }

  /** Of the present transport. */
  stats(): TransportStats | null {
    return this.#connection.transport?.stats() ?? null;
  }

  /** Whether anybody looks at the figures. */
  set watched(watched: boolean) {
    this.#watched = watched;
    this.#connection.transport?.watch(watched);
  }

  /** Compares the picture with the session's screen. */
  async prove(): Promise<ProofResult> {
    return this.#connection.transport?.prove() ?? 'unable';
  }

  /** Unless something else has it. */
  #takeFocus(): void {
    const active = document.activeElement;
    if (this.state.kind === 'connected' && (!active || active === document.body)) this.focus();
  }

  #stateChanged(state: ConnectionState): void {
    const connected = state.kind === 'connected';
    this.#clipboard.enabled = connected;
    this.#follower.enabled = connected;
    if (connected) {
      // The live picture covers it now; a picture is 8 MB and more.
      this.#last.remove();
      this.#last.width = this.#last.height = 0;
      this.#connection.transport?.setFocusOnClick(this.#focusOnClick);
      this.#connection.transport?.watch(this.#watched);
      this.#takeFocus();
      // Once what the page shows before the picture, and what of it had the focus, is gone.
      for (const soon of [50, 500]) setTimeout(() => this.#takeFocus(), soon);
    } else {
      this.#options.onExact(false);
    }
    this.#options.onState(state);
  }

  #place(): void {
    const picture = this.#picture;
    if (!picture || this.#viewport.width === 0 || this.#viewport.height === 0) return;
    const at = place(picture, this.#viewport);
    Object.assign(this.#stage.style, {
      inset: 'auto',
      left: `${at.left}px`,
      top: `${at.top}px`,
      width: `${at.width}px`,
      height: `${at.height}px`,
    });
    this.#oneToOne = at.exact;
    this.#options.onPicture(picture, at.exact);
  }

  #keydown(event: KeyboardEvent): void {
    if (event.ctrlKey && event.altKey && event.shiftKey && event.code === 'KeyM') {
      event.preventDefault();
      event.stopPropagation();
      this.#connection.transport?.releaseKeys();
      this.#options.onLeavePicture();
    }
  }
}
