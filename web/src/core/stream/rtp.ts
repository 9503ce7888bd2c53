// Video that travels beside the updates: access units by RTP, each waited for by the update that names it.

import type { Video, VideoFormat, Rect } from './messages';
import type { FrameDecoder } from './painter';
import type { Frame } from './surface';

/** An access unit with its bytes at hand. */
export interface AccessUnit {
  format: VideoFormat;
  keyframe: boolean;
  rects: readonly Rect[];
  data: Uint8Array;
}

export interface UnitDecoder {
  decode(unit: AccessUnit, width: number, height: number, done: (frame: Frame) => void): void;
  reset(): void;
}

/** What comes out of the worker that takes RTP's frames. */
export interface RtpUnit {
  timestamp: number;
  data: ArrayBuffer;
}

/** Where they come from. */
export interface UnitSource {
  /** Once. `arrived`: milliseconds since the epoch. */
  listen(onUnit: (unit: RtpUnit, arrived: number) => void): void;
  close(): void;
}

/** Access units kept for updates to come. */
const MOST_KEPT = 32;

interface Waiting {
  video: Video;
  width: number;
  height: number;
  since: number;
  done: (frame: Frame, waited: number) => void;
}

/** Hands access units to a decoder in the order of their updates, wherever they came. */
export class RtpDecoder implements FrameDecoder {
  readonly #decoder: UnitDecoder;
  readonly #patience: () => number;
  readonly #onMissed: (error: unknown) => void;
  readonly #units = new Map<number, Uint8Array>();
  #waiting: Waiting[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * `patience`: milliseconds that an access unit is waited for. `onMissed`: one does not come, or is of no use; what was
   * handed in is given up.
   */
  constructor(decoder: UnitDecoder, patience: () => number, onMissed: (error: unknown) => void) {
    this.#decoder = decoder;
    this.#patience = patience;
    this.#onMissed = onMissed;
  }

  decode(video: Video, width: number, height: number, done: (frame: Frame, waited: number) => void): void {
    this.#waiting.push({ video, width, height, since: performance.now(), done });
    this.#handOver();
  }

  arrived({ timestamp, data }: RtpUnit): void {
    this.#units.set(timestamp, new Uint8Array(data));
    for (const oldest of this.#units.keys()) {
      if (this.#units.size <= MOST_KEPT) break;
      this.#units.delete(oldest);
    }
    try {
      this.#handOver();
    } catch (error) {
      this.#onMissed(error);
    }
  }

  /** Nothing comes by RTP any more. */
  end(): void {
    this.#units.clear();
    if (this.#waiting.length > 0) this.#onMissed(new Error('the connection by WebRTC ended'));
  }

  reset(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
    this.#decoder.reset();
  }

  #handOver(): void {
    for (;;) {
      const [first] = this.#waiting;
      const data = first && this.#take(first.video);
      if (!first || !data) break;
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#waiting.shift();
      const { format, keyframe, rects } = first.video;
      const waited = performance.now() - first.since;
      this.#decoder.decode({ format, keyframe, rects, data }, first.width, first.height, (frame) => first.done(frame, waited));
    }
    if (this.#waiting.length > 0) this.#timer ??= setTimeout(() => this.#onMissed(new Error('a picture was lost on the way')), this.#patience());
  }

  #take({ source }: Video): Uint8Array | undefined {
    if (source.at === 'here') return source.data;
    const data = this.#units.get(source.timestamp);
    this.#units.delete(source.timestamp);
    return data;
  }
}
