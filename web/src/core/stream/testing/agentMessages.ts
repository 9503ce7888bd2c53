// Messages of an agent as bytes. For tests only.

import { type Rect, STREAM_VERSION } from '../messages';

export type SentOp =
  | { op: 'size'; width: number; height: number }
  | { op: 'fill'; rect: Rect; rgb: readonly [number, number, number] }
  /** A keyframe of H.264, of one byte. */
  | { op: 'video'; rect: Rect };

export function helloBytes(version = STREAM_VERSION): ArrayBuffer {
  return json(0x01, { version, width: 8, height: 4, videoEncoder: null, webrtc: false });
}

export function statsBytes(tilesMs: number, videoMs: number): ArrayBuffer {
  return json(0x08, { tilesMs, videoMs, linkBps: null, viewers: 1 });
}

export function updateBytes(seq: number, ops: readonly SentOp[], { exact = false, input = 0 } = {}): ArrayBuffer {
  const packed = ops.flatMap((op) => {
    switch (op.op) {
      case 'size':
        return [1, ...u16(op.width), ...u16(op.height)];
      case 'fill':
        return [2, ...packedRect(op.rect), ...op.rgb];
      case 'video':
        return [6, 0, 1, ...u16(1), ...packedRect(op.rect), 0, ...u32(1), 0];
    }
  });
  return bytes(0x02, exact ? 1 : 0, ...u16(ops.length), ...u32(seq), ...u32(0), ...u32(input), ...packed);
}

export function pongBytes(id: number): ArrayBuffer {
  return bytes(0x05, ...u32(id), ...u32(0));
}

export function proofBytes(seq: number, width: number, height: number, sha256: Uint8Array): ArrayBuffer {
  return bytes(0x07, ...u32(1), ...u32(seq), ...u16(width), ...u16(height), ...sha256);
}

function json(kind: number, value: unknown): ArrayBuffer {
  return bytes(kind, ...new TextEncoder().encode(JSON.stringify(value)));
}

function bytes(...values: number[]): ArrayBuffer {
  return Uint8Array.from(values).buffer;
}

const packedRect = ({ x, y, width, height }: Rect) => [x, y, width, height].flatMap(u16);
const u16 = (value: number) => [value & 255, value >> 8];
const u32 = (value: number) => [...u16(value & 0xffff), ...u16(value >>> 16)];
