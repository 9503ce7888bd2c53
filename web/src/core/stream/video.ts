// H.264 access units to frames by WebCodecs.

import type { Video, VideoFormat } from './messages';
import type { FrameDecoder } from './painter';
import type { Frame } from './surface';

/** Level 5.2, the highest that all know: enough for 4096x2304, and no decoder of a browser insists on more for larger. */
const CODECS: Record<VideoFormat, string> = { h264: 'avc1.42e034', h264Yuv444: 'avc1.f40034' };

function configuration(format: VideoFormat, size?: { codedWidth: number; codedHeight: number }): VideoDecoderConfig {
  return { codec: CODECS[format], ...size, optimizeForLatency: true, hardwareAcceleration: 'no-preference' };
}

/** The formats that this browser decodes; none where it has no WebCodecs. */
export async function supportedVideo(): Promise<VideoFormat[]> {
  if (typeof VideoDecoder === 'undefined') return [];
  const supported = async (format: VideoFormat) => {
    try {
      const size = { codedWidth: 1920, codedHeight: 1080 };
      return (await VideoDecoder.isConfigSupported(configuration(format, size))).supported === true;
    } catch {
      return false;
    }
  };
  const formats: VideoFormat[] = ['h264', 'h264Yuv444'];
  const answers = await Promise.all(formats.map(supported));
  return formats.filter((_, i) => answers[i]);
}

interface Pending {
  timestamp: number;
  done: (frame: Frame) => void;
}

export class WebCodecsDecoder implements FrameDecoder {
  readonly #onError: (error: unknown) => void;
  #decoder: VideoDecoder | null = null;
  #format: VideoFormat | null = null;
  /** In the order of the stream, which is that of the frames: there is no reordering in it. */
  #pending: Pending[] = [];
  #timestamp = 0;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  decode(video: Video, width: number, height: number, done: (frame: Frame) => void): void {
    if (this.#decoder === null || this.#format !== video.format) {
      if (!video.keyframe) throw new Error('video that does not begin with a keyframe');
      this.#configure(video.format, width, height);
    }
    const timestamp = ++this.#timestamp;
    this.#pending.push({ timestamp, done });
    this.#decoder?.decode(new EncodedVideoChunk({ type: video.keyframe ? 'key' : 'delta', timestamp, data: video.data }));
  }

  reset(): void {
    this.#pending = [];
    const decoder = this.#decoder;
    this.#decoder = null;
    if (decoder && decoder.state !== 'closed') decoder.close();
  }

  // Frames of the format before are still to come when the format changes, so each decoder is its own.
  #configure(format: VideoFormat, codedWidth: number, codedHeight: number): void {
    const former = this.#decoder;
    if (former) void former.flush().then(() => former.close(), () => undefined);
    this.#format = format;
    const decoder = new VideoDecoder({
      output: (frame) => this.#output(frame),
      error: (error) => {
        if (decoder === this.#decoder) this.#onError(error);
      },
    });
    decoder.configure(configuration(format, { codedWidth, codedHeight }));
    this.#decoder = decoder;
  }

  #output(frame: VideoFrame): void {
    const at = this.#pending.findIndex(({ timestamp }) => timestamp === frame.timestamp);
    const [pending] = at < 0 ? [] : this.#pending.splice(at, 1);
    if (pending) pending.done(frame);
    else frame.close();
  }
}
