// The picture stream's messages to bytes and back: crates/protocol/src/stream/wire.rs in TypeScript. Total: any bytes
// are a message or a `WireError`.

import { Reader, WireError, Writer } from './bytes';
import {
  type Action,
  type AgentHello,
  type AgentStats,
  type CursorImage,
  MAX_CLIPBOARD,
  MAX_CURSOR,
  MAX_EVENTS,
  MAX_TO_CLIENT,
  type Op,
  type Rect,
  type Signal,
  TILE_CODECS,
  type ToAgent,
  type ToClient,
  type Update,
  VIDEO_FORMATS,
  type VideoSource,
} from './messages';

export { WireError };

/** Stands for no cache slot. */
const NO_SLOT = 0xffff_ffff;
/** Longest packed event: two numbers, the kind, and a wheel. */
const LONGEST_EVENT = 4 + 4 + 1 + 8;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const toUtf8 = new TextEncoder();

/** Tile and video data are parts of `bytes`, not copies. */
export function decodeToClient(bytes: Uint8Array): ToClient {
  if (bytes.byteLength > MAX_TO_CLIENT) throw new WireError('the message is too long');
  const from = new Reader(bytes);
  const message = getMessage(from);
  if (from.left > 0) throw new WireError('the message goes on after its end');
  return message;
}

function getMessage(from: Reader): ToClient {
  const kind = from.u8();
  switch (kind) {
    case 0x01:
      return { kind: 'hello', ...agentHello(getJson(from)) };
    case 0x02:
      return { kind: 'update', ...getUpdate(from) };
    case 0x03:
      return { kind: 'cursor', ...getCursor(from) };
    case 0x04:
      return { kind: 'clipboard', text: getText(from) };
    case 0x05:
      return { kind: 'pong', id: from.u32(), clockUs: from.u32() };
    case 0x06:
      return { kind: 'signal', signal: getSignal(getJson(from)) };
    case 0x07:
      return {
        kind: 'proof',
        id: from.u32(),
        seq: from.u32(),
        width: from.u16(),
        height: from.u16(),
        sha256: from.bytes(32),
      };
    case 0x08:
      return { kind: 'stats', ...agentStats(getJson(from)) };
    case 0x09:
      return { kind: 'inputTaken', number: from.u32() };
    default:
      throw new WireError(`unknown message ${kind}`);
  }
}

function getUpdate(from: Reader): Update {
  const exact = from.bool();
  const count = from.u16();
  const [seq, capturedUs, input] = [from.u32(), from.u32(), from.u32()];
  const ops: Op[] = [];
  for (let i = 0; i < count; i++) ops.push(getOp(from));
  return { seq, exact, capturedUs, input, ops };
}

function getOp(from: Reader): Op {
  const op = from.u8();
  switch (op) {
    case 1:
      return { op: 'size', width: from.u16(), height: from.u16() };
    case 2:
      return { op: 'fill', rect: getRect(from), rgb: [from.u8(), from.u8(), from.u8()] };
    case 3: {
      const rect = getRect(from);
      const codec = named(TILE_CODECS, from.u8(), 'tile codec');
      const slot = from.u32();
      return { op: 'tile', rect, codec, slot: slot === NO_SLOT ? null : slot, data: getData(from) };
    }
    case 4:
      return { op: 'cached', rect: getRect(from), slot: from.u32() };
    case 5:
      return { op: 'copy', rect: getRect(from), toX: from.u16(), toY: from.u16() };
    case 6: {
      const format = named(VIDEO_FORMATS, from.u8(), 'video format');
      const keyframe = from.bool();
      const count = from.u16();
      const rects: Rect[] = [];
      for (let i = 0; i < count; i++) rects.push(getRect(from));
      return { op: 'video', format, keyframe, rects, source: getSource(from) };
    }
    default:
      throw new WireError(`unknown operation ${op}`);
  }
}

function getCursor(from: Reader): CursorImage {
  const [hotX, hotY, width, height] = [from.u16(), from.u16(), from.u16(), from.u16()];
  if (width > MAX_CURSOR || height > MAX_CURSOR) throw new WireError("the message's cursor is out of bounds");
  return { hotX, hotY, width, height, rgba: from.bytes(width * height * 4) };
}

function getRect(from: Reader): Rect {
  return { x: from.u16(), y: from.u16(), width: from.u16(), height: from.u16() };
}

function getSource(from: Reader): VideoSource {
  const source = from.u8();
  switch (source) {
    case 0:
      return { at: 'here', data: getData(from) };
    case 1:
      return { at: 'rtp', timestamp: from.u32() };
    default:
      throw new WireError(`unknown video source ${source}`);
  }
}

function getData(from: Reader): Uint8Array {
  return from.bytes(from.u32());
}

function getText(from: Reader): string {
  if (from.left > MAX_CLIPBOARD) throw new WireError("the message's text is out of bounds");
  return text(from.rest());
}

function text(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new WireError("the message's text is not UTF-8");
  }
}

function getJson(from: Reader): unknown {
  try {
    return JSON.parse(text(from.rest())) as unknown;
  } catch {
    throw new WireError("the message's JSON makes no sense");
  }
}

function named<T>(names: readonly T[], value: number, what: string): T {
  const name = names[value];
  if (name === undefined) throw new WireError(`unknown ${what} ${value}`);
  return name;
}

function agentHello(json: unknown): AgentHello {
  const { version, width, height, videoEncoder, webrtc } = fields(json);
  return {
    version: whole(version, 0xffff_ffff),
    width: whole(width, 0xffff),
    height: whole(height, 0xffff),
    videoEncoder: videoEncoder == null ? null : check(videoEncoder, typeof videoEncoder === 'string'),
    webrtc: check(webrtc, typeof webrtc === 'boolean'),
  };
}

function getSignal(json: unknown): Signal {
  const { type, sdp } = fields(json);
  switch (type) {
    case 'offer':
    case 'answer':
      return { type, sdp: check(sdp, typeof sdp === 'string') };
    case 'close':
      return { type };
    default:
      throw new WireError("the message's JSON makes no sense");
  }
}

function agentStats(json: unknown): AgentStats {
  const { tilesMs, videoMs, linkBps, viewers } = fields(json);
  return {
    tilesMs: check(tilesMs, typeof tilesMs === 'number'),
    videoMs: check(videoMs, typeof videoMs === 'number'),
    linkBps: linkBps == null ? null : whole(linkBps, Number.MAX_SAFE_INTEGER),
    viewers: whole(viewers, 0xffff_ffff),
  };
}

function fields(json: unknown): Record<string, unknown> {
  return check<Record<string, unknown>>(json, typeof json === 'object' && json !== null && !Array.isArray(json));
}

function whole(value: unknown, most: number): number {
  return check(value, Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most);
}

function check<T>(value: unknown, right: boolean): T {
  if (!right) throw new WireError("the message's JSON makes no sense");
  return value as T;
}

/** Throws a `WireError` for a message longer than the agent takes. */
export function encodeToAgent(message: ToAgent): Uint8Array<ArrayBuffer> {
  switch (message.kind) {
    case 'hello': {
      const { version, video, cachePixels, refresh, tiles } = message;
      return json(0x41, { version, video, cachePixels, refresh, tiles });
    }
    case 'drawn':
      return new Writer(9).u8(0x42).u32(message.seq).u32(message.tookUs).done();
    case 'input': {
      const { events } = message;
      if (events.length > MAX_EVENTS) throw new WireError('too many events');
      const out = new Writer(3 + events.length * LONGEST_EVENT).u8(0x43).u16(events.length);
      for (const event of events) putAction(out.u32(event.number).u32(event.atUs), event);
      return out.done();
    }
    case 'clipboard':
      return prefixed(0x44, message.text, MAX_CLIPBOARD);
    case 'ping':
      return new Writer(5).u8(0x45).u32(message.id).done();
    case 'signal': {
      const { signal } = message;
      return json(0x46, signal.type === 'close' ? { type: 'close' } : { type: signal.type, sdp: signal.sdp });
    }
    case 'prove':
      return new Writer(5).u8(0x47).u32(message.id).done();
    case 'refresh':
      return new Writer(1).u8(0x48).done();
    case 'view':
      return json(0x49, { hidden: message.hidden, refresh: message.refresh });
  }
}

function putAction(out: Writer, action: Action): void {
  switch (action.action) {
    case 'move':
      out.u8(1).u16(action.x).u16(action.y);
      break;
    case 'button':
      out.u8(2).u16(action.x).u16(action.y).u8(action.button).bool(action.down);
      break;
    case 'wheel':
      out.u8(3).u16(action.x).u16(action.y).u16(action.dx).u16(action.dy);
      break;
    case 'key':
      out.u8(4).u32(action.keysym).u8(action.keycode).bool(action.down);
      break;
    case 'releaseAll':
      out.u8(5);
      break;
  }
}

function json(kind: number, value: unknown): Uint8Array<ArrayBuffer> {
  return prefixed(kind, JSON.stringify(value), MAX_CLIPBOARD);
}

function prefixed(kind: number, value: string, longest: number): Uint8Array<ArrayBuffer> {
  const bytes = toUtf8.encode(value);
  if (bytes.length > longest) throw new WireError('the message is too long');
  const out = new Uint8Array(1 + bytes.length);
  out[0] = kind;
  out.set(bytes, 1);
  return out;
}
