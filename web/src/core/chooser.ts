// Which ways lead to a session, the best first, and which of them the person wants.

import { type Candidate, FallbackTransport } from './fallback';
import { StreamTransport } from './stream/streamTransport';
import { type Transport, TRANSPORT_KINDS, type TransportKind } from './transport';
import { VncTransport } from './vnc';

/** `auto`: the best that works. */
export type TransportPin = 'auto' | TransportKind;

export const TRANSPORT_PINS: readonly TransportPin[] = ['auto', ...TRANSPORT_KINDS];

/** What was kept, perhaps by another version. */
export function pinOf(kept: string | null): TransportPin {
  return TRANSPORT_PINS.find((pin) => pin === kept) ?? 'auto';
}

export interface ChooserOptions {
  pin: TransportPin;
  /** Addresses of the session's WebSockets, `ws:` or `wss:`. */
  urls: { stream: string; vnc: string };
  /** Servers that may help WebRTC around a firewall. */
  iceServers: () => Promise<RTCIceServer[]>;
}

export function chooseTransport(element: HTMLElement, { pin, urls, iceServers }: ChooserOptions): Transport {
  const stream = (webrtc: boolean) => (layer: HTMLElement) =>
    new StreamTransport(layer, { url: urls.stream, webrtc: webrtc ? { iceServers } : null });
  const candidates: readonly Candidate[] = [
    // Begins by WebSocket, and goes on by WebRTC where that connects.
    { kind: 'webrtc', supported: canStream, make: stream(true) },
    { kind: 'websocket', supported: canStream, make: stream(false) },
    { kind: 'vnc', supported: () => true, make: (layer) => new VncTransport(layer, urls.vnc) },
  ];
  const pinned = candidates.find(({ kind, supported }) => kind === pin && supported());
  // The first of them is the second as well.
  const all = candidates.filter(({ kind }) => kind !== 'websocket');
  return new FallbackTransport(element, pinned ? [pinned] : all, pinned !== undefined);
}

/** The shortest module there is: its magic number and version. */
const EMPTY_MODULE = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

/** Whether this browser can show the picture stream. A policy that forbids WebAssembly throws. */
export function canStream(): boolean {
  try {
    return typeof WebSocket === 'function' && typeof OffscreenCanvas === 'function' && new WebAssembly.Module(EMPTY_MODULE) instanceof WebAssembly.Module;
  } catch {
    return false;
  }
}
