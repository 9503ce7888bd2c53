// How access units get from the worker that takes RTP's frames to the page: by a ring where memory can be shared, else as
// messages.

import { type RingMemory, RingReader, RingWriter, sharedNow } from './ring';
import type { RtpUnit, UnitSource } from './rtp';

/** What the worker is given: its end. */
export type UnitSink = { ring: RingMemory } | { port: MessagePort };

export function unitWriter(sink: UnitSink): (unit: RtpUnit) => void {
  if ('port' in sink) return (unit) => sink.port.postMessage(unit, [unit.data]);
  const ring = new RingWriter(sink.ring);
  return ({ timestamp, data }) => ring.write(timestamp, new Uint8Array(data));
}

export function unitsFromRing(memory: RingMemory): UnitSource {
  let reader: RingReader | null = null;
  return {
    listen: (onUnit) => (reader = new RingReader(memory, (timestamp, data, arrived) => onUnit({ timestamp, data }, arrived))),
    close: () => reader?.stop(),
  };
}

export function unitsFromPort(port: MessagePort): UnitSource {
  return {
    listen: (onUnit) => (port.onmessage = ({ data }: MessageEvent<RtpUnit>) => onUnit(data, sharedNow())),
    close: () => port.close(),
  };
}
