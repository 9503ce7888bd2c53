// How picture and input travel between this page and a session. VNC is the first; others implement the same interface.
// A transport is one attempt: it connects once, and once closed stays closed. Trying again is the connection's business.

export interface PictureSize {
  /** Device pixels. */
  width: number;
  height: number;
}

/** The best first; see chooser.ts. */
export const TRANSPORT_KINDS = ['webrtc', 'websocket', 'vnc'] as const;
export type TransportKind = (typeof TRANSPORT_KINDS)[number];

/** Why a way that is better than the one in use is not in use. */
export type PassedOver =
  /** This browser cannot do it. */
  | 'unsupported'
  /** It answered with what is not understood here: another version, broken messages. */
  | 'unusable'
  /** No picture came in time; it may still come. */
  | 'late'
  /** The connection was refused or broke off. */
  | 'refused';

export interface Choice {
  kind: TransportKind;
  /** It is what the person wants, and no other is tried. */
  pinned: boolean;
  /** Better ones, the best first. */
  passedOver: readonly { kind: TransportKind; why: PassedOver }[];
}

/** What one transport's picture travels by, where it knows several ways; and why not by its best, null while that may come. */
export interface Carrier {
  kind: TransportKind;
  why: PassedOver | null;
}

export interface AgentFigures {
  /** Milliseconds to encode, the last value seen. */
  tilesMs: number;
  videoMs: number;
}

/**
 * `moving`: the picture changed before it could be compared. `unable`: this transport or this page cannot compare; over
 * plain HTTP browsers have no SHA-256.
 */
export type ProofResult = 'same' | 'different' | 'moving' | 'unable';

export interface TransportStats {
  kind: TransportKind;
  /** Bytes received since the transport was made. */
  received: number;
  /** In the last second; null where it is not known, as all below. */
  bitsPerSecond: number | null;
  /** Changes of the picture drawn in the last second. */
  fps: number | null;
  rttMs: number | null;
  /** From an input event until the first change of the picture that can show it. */
  inputToPixelMs: { p50: number; p95: number } | null;
  /** Whether the picture is the session's screen, pixel by pixel; null: this transport cannot tell. */
  exact: boolean | null;
  agent: AgentFigures | null;
}

/** Why a transport was closed that nobody here asked to disconnect. */
export type Loss =
  /** The server said that the session has ended. */
  | 'sessionEnded'
  /** The server said that this browser is signed out. */
  | 'signedOut'
  /** The server lost the session's display, which is being brought back. */
  | 'pictureLost'
  /** The server said that it is being restarted. */
  | 'serverRestarting'
  /** What came is not understood here: this way will not work by trying again. */
  | 'unusable'
  /** Nobody said why: the network, or a server that died. */
  | 'lost';

/** Close code of a page that does not understand what it was sent. */
export const NOT_UNDERSTOOD = 4400;

/** The loss behind a close code of the session's WebSocket; see docs/architecture.md. */
export function lossOf(code: number): Loss {
  switch (code) {
    case 4000:
      return 'sessionEnded';
    case 4001:
      return 'signedOut';
    case 4002:
      return 'pictureLost';
    case 1012:
      return 'serverRestarting';
    case NOT_UNDERSTOOD:
      return 'unusable';
    default:
      return 'lost';
  }
}

/** For a transport that can only count bytes. */
export const NO_FIGURES = { bitsPerSecond: null, fps: null, rttMs: null, inputToPixelMs: null, exact: null, agent: null } as const;

export interface TransportEvents {
  /** The first picture is on the screen and input is taken. */
  open: undefined;
  /** Sent once, last of all; after `disconnect` the loss means nothing. */
  closed: { loss: Loss };
  /** The picture has another size. */
  size: PictureSize;
  /** Whether the picture is the session's screen, pixel by pixel; not sent by who cannot tell. */
  exact: { exact: boolean };
  /** The transport goes another way by itself. */
  carrier: Carrier;
  /** Which of several ways is used from now on, and why. */
  chosen: Choice;
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

  /** Asks the session for a sign of life: when not a byte comes for some seconds, the transport closes as lost. */
  ping(): void;
  /** Copies the picture as it is now; false while there is none. Works after `closed` too. */
  copyPicture(into: HTMLCanvasElement): boolean;
  stats(): TransportStats;
  /** Whether anybody looks at the figures: some of them are only measured then. */
  watch(watched: boolean): void;
  /** Compares the picture with the session's screen. */
  prove(): Promise<ProofResult>;
}

/** Makes a transport that shows its picture filling `element`. */
export type TransportFactory = (element: HTMLElement) => Transport;
