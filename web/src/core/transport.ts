// How picture and input travel between this page and a session. VNC is the first; others implement the same interface.
// A transport is one attempt: it connects once, and once closed stays closed. Trying again is the connection's business.

export interface PictureSize {
  /** Device pixels. */
  width: number;
  height: number;
}

export interface TransportStats {
  /** Bytes received since the transport was made. */
  received: number;
}

export type CloseCause =
  /** `disconnect` was called. */
  | 'asked'
  /** The other side or the network closed it; `detail` says what is known. */
  | 'lost';

export interface TransportEvents {
  /** The first picture is on the screen and input is taken. */
  open: undefined;
  /** Sent once, last of all. */
  closed: { cause: CloseCause; detail: string };
  /** The picture has another size. */
  size: PictureSize;
  /** Text was copied in the session. */
  clipboard: { text: string };
}

export type TransportListener = <K extends keyof TransportEvents>(event: K, data: TransportEvents[K]) => void;

export interface Transport {
  /** Starts connecting. Events arrive from the next task on, never from inside this call. */
  connect(listener: TransportListener): void;
  /** Harmless when repeated. */
  disconnect(): void;

  /** Presses (`true`), releases (`false`) or types (left out) a key. `code` is a `KeyboardEvent.code`. */
  sendKey(keysym: number, code: string, down?: boolean): void;
  /** Releases every key this page holds down in the session. */
  releaseKeys(): void;
  sendClipboard(text: string): void;
  focus(): void;
  /** Whether touching the picture takes the focus; not while the on-screen keyboard is shown. */
  setFocusOnClick(on: boolean): void;

  /** Copies the picture as it is now; false while there is none. Works after `closed` too. */
  copyPicture(into: HTMLCanvasElement): boolean;
  stats(): TransportStats;
}

/** Makes a transport that shows its picture filling `element`. */
export type TransportFactory = (element: HTMLElement) => Transport;
