// H.264 access units to frames by WebCodecs.

import type { Rect, VideoFormat } from './messages';
import type { AccessUnit, UnitDecoder } from './rtp';
import { type Frame, PixelFrame } from './surface';

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

/** Images kept for reuse: as many as are under way. */
const SPARE = 3;

interface Pending {
  timestamp: number;
  rects: readonly Rect[];
  done: (frame: Frame) => void;
}

export class WebCodecsDecoder implements UnitDecoder {
  readonly #onError: (error: unknown) => void;
  #decoder: VideoDecoder | null = null;
  #format: VideoFormat | null = null;
  /** In the order of the stream, which is that of the frames: there is no reordering in it. */
  #pending: Pending[] = [];
  #timestamp = 0;
  /** The frames before are handed over first. */
  #handed: Promise<void> = Promise.resolve();
  /**
   * Drawing a frame converts all of it, without a graphics card 8 ms of 1920x1080; copying the part that is wanted takes 2.
   * False where the browser copies no other format than the frame's own.
   */
  #copies = true;
  /** Pixels of images that were drawn, for the next ones. */
  #spare: Uint8ClampedArray<ArrayBuffer>[] = [];

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  decode(unit: AccessUnit, width: number, height: number, done: (frame: Frame) => void): void {
    if (this.#decoder === null || this.#format !== unit.format) {
      if (!unit.keyframe) throw new Error('video that does not begin with a keyframe');
      this.#configure(unit.format, width, height);
    }
    const timestamp = ++this.#timestamp;
    this.#pending.push({ timestamp, rects: unit.rects, done });
    this.#decoder?.decode(new EncodedVideoChunk({ type: unit.keyframe ? 'key' : 'delta', timestamp, data: unit.data }));
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
    if (!pending) {
      frame.close();
      return;
    }
    this.#handed = this.#handed.then(async () => pending.done((await this.#pixels(frame, pending.rects)) ?? frame));
  }

  /** The part of the frame that holds the rectangles; closes the frame then. Null: it has to be drawn itself. */
  async #pixels(frame: VideoFrame, rects: readonly Rect[]): Promise<PixelFrame | null> {
    const visible = frame.visibleRect;
    // Firefox says that its frames are RGB and converts all of one for a copy too, in 15 ms and more.
    if (!this.#copies || rects.length === 0 || !visible || /^(RGB|BGR)/.test(frame.format ?? '')) return null;
    // Chroma of 4:2:0 begins at even positions.
    const x = Math.min(...rects.map((rect) => rect.x)) & ~1;
    const y = Math.min(...rects.map((rect) => rect.y)) & ~1;
    const even = (end: number, most: number) => Math.min(end + (end & 1), most);
    const width = even(Math.max(...rects.map((rect) => rect.x + rect.width)), visible.width) - x;
    const height = even(Math.max(...rects.map((rect) => rect.y + rect.height)), visible.height) - y;
    const bytes = width * height * 4;
    const options: VideoFrameCopyToOptions = { rect: { x, y, width, height }, format: 'RGBA', colorSpace: 'srgb' };
    let rgba: Uint8ClampedArray<ArrayBuffer>;
    try {
      // A browser that does not know of formats would copy the frame's own.
      if (frame.allocationSize(options) !== bytes) throw new TypeError('no RGBA');
      rgba = this.#memory(bytes);
      await frame.copyTo(rgba, options);
    } catch {
      this.#copies = false;
      return null;
    }
    frame.close();
    return new PixelFrame(new ImageData(rgba, width, height), x, y, () => {
      if (this.#spare.length < SPARE) this.#spare.push(rgba);
    });
  }

  #memory(bytes: number): Uint8ClampedArray<ArrayBuffer> {
    const at = this.#spare.findIndex(({ length }) => length === bytes);
    const [found] = at < 0 ? [] : this.#spare.splice(at, 1);
    if (found) return found;
    // Of another size than what is wanted now.
    this.#spare.shift();
    return new Uint8ClampedArray(bytes);
  }
}
