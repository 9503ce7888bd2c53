// The connection by WebRTC beside a stream's WebSocket: video by RTP, input on a data channel. It comes when it can, is
// made anew when it is lost, and nothing depends on it.

import { backoff } from '../backoff';
import { INPUT_CHANNEL, type Signal } from './messages';
import { canShare, ringMemory } from './ring';
import type { UnitSource } from './rtp';
import { type UnitSink, unitsFromPort, unitsFromRing } from './units';

export interface MediaOptions {
  signal(signal: Signal): void;
  /** Access units come from there from now on. */
  onUnits(source: UnitSource): void;
  /** Whether messages can be sent. */
  onOpen(open: boolean): void;
  onMessage(data: ArrayBuffer): void;
  /** Servers to ask for a way around a firewall. */
  iceServers(): Promise<RTCIceServer[]>;
}

/** Milliseconds until a connection that does not come is tried anew. */
const PATIENCE = 15_000;
/** Milliseconds after which a connection counts as one that works. */
const STEADY = 30_000;
/** Milliseconds for the answer of which servers there are. */
const ASKING = 3_000;
/** Bytes of access units between worker and page, a power of two: some pictures' worth. */
const UNITS = 1 << 20;
/** Bytes that may wait for the network. */
const MOST_BUFFERED = 16 * 1024;
const AGAIN = { first: 1_000, longest: 30_000 };
/** Milliseconds until gathering candidates has taken long enough: a relay's may come later than the others. */
const GATHERING = 1_000;

/** Whether this browser knows WebRTC at all. */
export function canConnect(): boolean {
  return typeof RTCPeerConnection === 'function';
}

/** Whether encoded video can be taken from it; without that only input travels by it. Firefox has H.264 as a download. */
function takesFrames(): boolean {
  const codecs = RTCRtpReceiver.getCapabilities('video')?.codecs ?? [];
  return typeof RTCRtpScriptTransform === 'function' && codecs.some(({ mimeType }) => /\/h264$/i.test(mimeType));
}

export class Media {
  readonly #options: MediaOptions;
  readonly #abort = new AbortController();
  #failures = 0;
  #openSince = Infinity;
  #peer: RTCPeerConnection | null = null;
  #channel: RTCDataChannel | null = null;
  #worker: Worker | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: MediaOptions) {
    this.#options = options;
    // Another network is there: what was tried before is no measure for it.
    const anew = () => {
      this.#failures = 0;
      if (this.#peer) this.#options.signal({ type: 'close' });
      this.#close();
      void this.#connect();
    };
    window.addEventListener('online', anew, { signal: this.#abort.signal });
    void this.#connect();
  }

  get open(): boolean {
    return this.#channel?.readyState === 'open';
  }

  take(signal: Signal): void {
    const peer = this.#peer;
    switch (signal.type) {
      case 'answer':
        // One that comes late is for a connection that was given up.
        if (peer?.signalingState !== 'have-local-offer') break;
        peer.setRemoteDescription(signal).catch((error: unknown) => peer === this.#peer && this.#lost(error));
        break;
      case 'close':
        if (peer) this.#lost('the agent closed it');
        break;
      case 'offer':
        break;
    }
  }

  /** False when it was not sent. What was may still be lost. */
  send(message: Uint8Array<ArrayBuffer>): boolean {
    if (!this.#channel || this.#channel.readyState !== 'open') return false;
    // As good as lost: more would only come later. What matters is sent again.
    if (this.#channel.bufferedAmount > MOST_BUFFERED) return true;
    try {
      this.#channel.send(message);
      return true;
    } catch {
      return false;
    }
  }

  /** It does not carry any more. */
  fail(reason: string): void {
    if (this.#peer) this.#lost(reason);
  }

  stop(): void {
    this.#abort.abort();
    this.#close();
  }

  async #connect(): Promise<void> {
    const none: RTCIceServer[] = [];
    // Most networks need none.
    const late = new Promise<RTCIceServer[]>((resolve) => setTimeout(() => resolve(none), ASKING));
    const iceServers = await Promise.race([this.#options.iceServers().catch(() => none), late]);
    if (this.#abort.signal.aborted || this.#peer) return;
    let peer: RTCPeerConnection | null = null;
    try {
      // It throws where there are too many, or a policy forbids it.
      peer = this.#newPeer(iceServers);
      this.#addChannel(peer);
      if (takesFrames()) this.#addVideo(peer);
      await peer.setLocalDescription();
      if (iceServers.length > 0) await gathered(peer);
      const { sdp } = peer.localDescription ?? {};
      if (peer === this.#peer && sdp) this.#options.signal({ type: 'offer', sdp });
    } catch (error) {
      if (peer === this.#peer) this.#lost(error);
    }
  }

  #newPeer(iceServers: RTCIceServer[]): RTCPeerConnection {
    const peer = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.#peer = peer;
    this.#timer = setTimeout(() => this.#lost('no connection in time'), PATIENCE);
    peer.addEventListener('connectionstatechange', () => {
      if (peer === this.#peer && ['failed', 'disconnected', 'closed'].includes(peer.connectionState)) this.#lost(peer.connectionState);
    });
    return peer;
  }

  #addChannel(peer: RTCPeerConnection): void {
    const channel = peer.createDataChannel(INPUT_CHANNEL, { ordered: false, maxRetransmits: 0 });
    channel.binaryType = 'arraybuffer';
    this.#channel = channel;
    channel.addEventListener('open', () => {
      if (channel !== this.#channel) return;
      clearTimeout(this.#timer);
      this.#openSince = performance.now();
      this.#options.onOpen(true);
    });
    channel.addEventListener('close', () => {
      if (channel === this.#channel) this.#lost('the data channel was closed');
    });
    channel.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
      if (channel === this.#channel && data instanceof ArrayBuffer) this.#options.onMessage(data);
    });
  }

  #addVideo(peer: RTCPeerConnection): void {
    const { receiver } = peer.addTransceiver('video', { direction: 'recvonly' });
    this.#worker = new Worker(new URL('./rtpWorker.ts', import.meta.url), { type: 'module' });
    const { source, sink, transfer } = unitWay();
    receiver.transform = new RTCRtpScriptTransform(this.#worker, sink, transfer);
    this.#options.onUnits(source);
  }

  #lost(reason: unknown): void {
    console.info('No WebRTC:', reason);
    if (this.#peer) this.#options.signal({ type: 'close' });
    if (performance.now() - this.#openSince > STEADY) this.#failures = 0;
    this.#close();
    if (this.#abort.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#connect(), backoff(++this.#failures, AGAIN));
  }

  #close(): void {
    clearTimeout(this.#timer);
    const wasOpen = this.#channel !== null;
    const peer = this.#peer;
    this.#peer = null;
    this.#channel = null;
    this.#openSince = Infinity;
    peer?.close();
    this.#worker?.terminate();
    this.#worker = null;
    if (wasOpen) this.#options.onOpen(false);
  }
}

/** Between a worker and the page. */
function unitWay(): { source: UnitSource; sink: UnitSink; transfer: Transferable[] } {
  if (canShare()) {
    const ring = ringMemory(UNITS);
    return { source: unitsFromRing(ring), sink: { ring }, transfer: [] };
  }
  const { port1, port2: port } = new MessageChannel();
  return { source: unitsFromPort(port1), sink: { port }, transfer: [port] };
}

/** Resolves when a relay's candidates are known, or it has taken long enough. */
function gathered(peer: RTCPeerConnection): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHERING);
    peer.addEventListener('icegatheringstatechange', () => {
      if (peer.iceGatheringState !== 'complete') return;
      clearTimeout(timer);
      resolve();
    });
  });
}
