// The picture stream's messages as TypeScript sees them. The truth is crates/protocol/src/stream/messages.rs; what each
// means is said there.

/** Version of these messages. */
export const STREAM_VERSION = 2;
/** What this page knows of tiles. */
export const TILES_VERSION = 1;
/** Longest message from the agent, bytes. */
export const MAX_TO_CLIENT = 32 << 20;
/** Longest clipboard text, bytes of UTF-8. */
export const MAX_CLIPBOARD = 1 << 20;
/** Most events in one `Input`. */
export const MAX_EVENTS = 4096;
/** Largest cursor image, pixels on a side. */
export const MAX_CURSOR = 256;

/** Pixels of the session's screen. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

export type ToClient =
  | ({ kind: 'hello' } & AgentHello)
  | ({ kind: 'update' } & Update)
  | ({ kind: 'cursor' } & CursorImage)
  | { kind: 'clipboard'; text: string }
  | ({ kind: 'pong' } & Pong)
  | { kind: 'inputTaken'; number: number }
  | ({ kind: 'proof' } & Proof)
  | { kind: 'signal'; signal: Signal }
  | ({ kind: 'stats' } & AgentStats);

export type ToAgent =
  | ({ kind: 'hello' } & ClientHello)
  | ({ kind: 'drawn' } & Drawn)
  | { kind: 'input'; events: readonly InputEvent[] }
  | { kind: 'clipboard'; text: string }
  | { kind: 'ping'; id: number }
  | { kind: 'prove'; id: number }
  | { kind: 'refresh' }
  | ({ kind: 'view' } & View)
  | { kind: 'signal'; signal: Signal };

export type Signal = { type: 'offer'; sdp: string } | { type: 'answer'; sdp: string } | { type: 'close' };

/** Label of WebRTC's data channel. */
export const INPUT_CHANNEL = 'input';

export interface AgentHello {
  version: number;
  width: number;
  height: number;
  videoEncoder: string | null;
  webrtc: boolean;
}

export interface ClientHello {
  version: number;
  video: readonly VideoFormat[];
  cachePixels: number;
  refresh: number;
  tiles: number;
}

export const VIDEO_FORMATS = ['h264', 'h264Yuv444'] as const;
export type VideoFormat = (typeof VIDEO_FORMATS)[number];

export interface Update {
  seq: number;
  exact: boolean;
  capturedUs: number;
  input: number;
  ops: readonly Op[];
}

export interface Tile {
  op: 'tile';
  rect: Rect;
  codec: TileCodec;
  slot: number | null;
  data: Uint8Array;
}

export interface Video {
  op: 'video';
  format: VideoFormat;
  keyframe: boolean;
  rects: readonly Rect[];
  source: VideoSource;
}

export type VideoSource = { at: 'here'; data: Uint8Array } | { at: 'rtp'; timestamp: number };

export type Op =
  | { op: 'size'; width: number; height: number }
  | { op: 'fill'; rect: Rect; rgb: readonly [number, number, number] }
  | Tile
  | { op: 'cached'; rect: Rect; slot: number }
  | { op: 'copy'; rect: Rect; toX: number; toY: number }
  | Video;

export const TILE_CODECS = ['raw', 'planes', 'palette', 'partial'] as const;
export type TileCodec = (typeof TILE_CODECS)[number];

export interface CursorImage {
  hotX: number;
  hotY: number;
  /** 0 by 0: no cursor is shown. */
  width: number;
  height: number;
  /** Not premultiplied. */
  rgba: Uint8Array;
}

export interface Pong {
  id: number;
  clockUs: number;
}

export interface Proof {
  id: number;
  seq: number;
  width: number;
  height: number;
  sha256: Uint8Array;
}

export interface AgentStats {
  tilesMs: number;
  videoMs: number;
  /** Bits a second; null: not known yet. */
  linkBps: number | null;
  viewers: number;
}

export interface Drawn {
  seq: number;
  tookUs: number;
}

export interface View {
  hidden: boolean;
  refresh: number;
}

export type InputEvent = { number: number; atUs: number } & Action;

export type Action =
  | { action: 'move'; x: number; y: number }
  /** X's numbers: 1 left, 2 middle, 3 right, 8 back, 9 forward. */
  | { action: 'button'; x: number; y: number; button: number; down: boolean }
  /** Positive is right and down, in 1/120 of a notch. */
  | { action: 'wheel'; x: number; y: number; dx: number; dy: number }
  /** `keycode` is X's (evdev code + 8), 0 when the key has none. */
  | { action: 'key'; keysym: number; keycode: number; down: boolean }
  | { action: 'releaseAll' };
