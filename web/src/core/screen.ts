// The session's screen follows the browser's window: which size to ask for, and where to draw what came of it so that
// one pixel of the session is one pixel of the display.

import { backoff, type BackoffLimits } from './backoff';
import type { PictureSize } from './transport';

/** The session's screen: device pixels and `devicePixelRatio`. The server's limits are the agent's. */
export interface ScreenSize extends PictureSize {
  scale: number;
}

/** The room there is in the page. */
export interface Viewport {
  /** CSS pixels, may be fractional. */
  width: number;
  height: number;
  /** `devicePixelRatio` */
  ratio: number;
}

/** CSS pixels relative to the viewport. `exact`: one to one in device pixels. */
export interface Placement {
  left: number;
  top: number;
  width: number;
  height: number;
  exact: boolean;
}

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

/** Device pixels that an X server may round a size away by and still be drawn one to one. */
const ROUNDING = 16;
/** Whole device pixels survive the binary fractions of a ratio such as 1.1. */
const EPSILON = 1e-3;

/** The screen to ask for, within the limits of the REST API. */
export function screenFor(viewport: Viewport): ScreenSize {
  const standing = viewport.height > viewport.width;
  return {
    width: clamp(Math.floor(viewport.width * viewport.ratio + EPSILON), 320, standing ? 4320 : 7680),
    height: clamp(Math.floor(viewport.height * viewport.ratio + EPSILON), 240, standing ? 7680 : 4320),
    scale: clamp(Math.round(viewport.ratio * 1000) / 1000, 0.5, 4),
  };
}

/**
 * One to one where the picture fits and fills the room in one direction at least: what was asked for, or that cut off by
 * the server's largest screen. Else as large as fits. Centred on whole device pixels.
 */
export function place(picture: PictureSize, viewport: Viewport): Placement {
  const roomX = Math.floor(viewport.width * viewport.ratio + EPSILON);
  const roomY = Math.floor(viewport.height * viewport.ratio + EPSILON);
  const spareX = roomX - picture.width;
  const spareY = roomY - picture.height;
  const exact = spareX >= 0 && spareY >= 0 && Math.min(spareX, spareY) < ROUNDING;
  const factor = exact ? 1 : Math.min(roomX / picture.width, roomY / picture.height);
  const width = exact ? picture.width : Math.round(picture.width * factor);
  const height = exact ? picture.height : Math.round(picture.height * factor);
  return {
    left: Math.floor((roomX - width) / 2) / viewport.ratio,
    top: Math.floor((roomY - height) / 2) / viewport.ratio,
    width: width / viewport.ratio,
    height: height / viewport.ratio,
    exact,
  };
}

export interface ScreenFollowerOptions {
  element: HTMLElement;
  /** Asks the session for a screen. Must end. A rejection is taken as "not now": it is asked a few times more. */
  request(screen: ScreenSize): Promise<unknown>;
  /** At every change of the room, at once. */
  onViewport(viewport: Viewport): void;
}

/** Milliseconds of rest before a new size is asked for. */
const DEBOUNCE = 150;
/** Who was refused asks again after this, so often; then the next change does. */
const AGAIN: BackoffLimits = { first: 2_000, longest: 30_000 };
const MOST_AGAIN = 5;

/** Watches the element's size and the device pixel ratio. At most one request is under way; the newest size wins. */
export class ScreenFollower {
  readonly #options: ScreenFollowerOptions;
  readonly #observer: ResizeObserver;
  readonly #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #againTimer: ReturnType<typeof setTimeout> | undefined;
  #refusals = 0;
  #ratioQuery: AbortController | null = null;
  #asked: ScreenSize | null = null;
  #busy = false;
  #enabled = false;

  constructor(options: ScreenFollowerOptions) {
    this.#options = options;
    const changed = () => this.#changed();
    this.#observer = new ResizeObserver(changed);
    this.#observer.observe(options.element);
    const signal = this.#abort.signal;
    window.addEventListener('resize', changed, { signal });
    screen.orientation?.addEventListener('change', changed, { signal });
    document.addEventListener('fullscreenchange', changed, { signal });
    this.#watchRatio();
  }

  get viewport(): Viewport {
    const box = this.#options.element.getBoundingClientRect();
    return { width: box.width, height: box.height, ratio: window.devicePixelRatio || 1 };
  }

  /** Sizes are only asked for while there is a session to ask. Enabling asks at once. */
  set enabled(enabled: boolean) {
    this.#enabled = enabled;
    if (enabled) this.insist();
    else this.#stopTimers();
  }

  /** Asks once more, although nothing changed here: somebody else may have asked for another screen since. */
  insist(): void {
    this.#asked = null;
    this.#refusals = 0;
    void this.#ask();
  }

  stop(): void {
    this.#observer.disconnect();
    this.#abort.abort();
    this.#ratioQuery?.abort();
    this.#stopTimers();
    this.#enabled = false;
  }

  #stopTimers(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#againTimer);
  }

  // A media query that stops matching is the only event there is for a change of the ratio.
  #watchRatio(): void {
    this.#ratioQuery?.abort();
    this.#ratioQuery = new AbortController();
    window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`).addEventListener(
      'change',
      () => {
        this.#watchRatio();
        this.#changed();
      },
      { signal: this.#ratioQuery.signal },
    );
  }

  #changed(): void {
    this.#options.onViewport(this.viewport);
    if (!this.#enabled) return;
    this.#refusals = 0;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), DEBOUNCE);
  }

  async #ask(): Promise<void> {
    if (this.#busy || !this.#enabled) return;
    const wanted = screenFor(this.viewport);
    const asked = this.#asked;
    if (asked && asked.width === wanted.width && asked.height === wanted.height && asked.scale === wanted.scale) return;
    this.#busy = true;
    this.#asked = wanted;
    clearTimeout(this.#againTimer);
    try {
      await this.#options.request(wanted);
      this.#refusals = 0;
    } catch {
      this.#asked = null;
      if (this.#enabled && ++this.#refusals <= MOST_AGAIN) {
        this.#againTimer = setTimeout(() => void this.#ask(), backoff(this.#refusals, AGAIN));
      }
      return;
    } finally {
      this.#busy = false;
    }
    void this.#ask();
  }
}
