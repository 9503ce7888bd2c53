// Takes the frames of WebRTC's video track before the browser would decode and time them, and passes them on as they are.

import { type UnitSink, unitWriter } from './units';

const scope = self as unknown as {
  addEventListener(type: 'rtctransform', listener: (event: { transformer: Transformer }) => void): void;
};

interface Transformer {
  readonly readable: ReadableStream<RTCEncodedVideoFrame>;
  readonly options: UnitSink;
}

scope.addEventListener('rtctransform', ({ transformer }) => void passOn(transformer));

async function passOn({ readable, options }: Transformer): Promise<void> {
  const write = unitWriter(options);
  const reader = readable.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    write({ timestamp: value.getMetadata().rtpTimestamp ?? value.timestamp, data: value.data });
  }
}
