// A network that vanishes closes no WebSocket. Who asked the session for an answer and then hears nothing at all, not a
// byte, has lost it.

/**
 * Milliseconds without a byte after a question. Messages come as a whole, and the longest of a slow line is seconds on
 * its way.
 */
export const SILENCE = 8_000;
/** Milliseconds: a timer so much too late says that the page stood still, and what came meanwhile may wait behind it. */
const STOOD_STILL = 1_000;

export interface SilenceOptions {
  /** Asks once more, and says so by `asked`. */
  ask(): void;
  /** Nothing came. */
  onSilence(): void;
}

export class Silence {
  readonly #options: SilenceOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SilenceOptions) {
    this.#options = options;
  }

  /** Something was asked that is answered at once. */
  asked(): void {
    if (this.#timer !== undefined) return;
    const due = performance.now() + SILENCE;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (performance.now() - due > STOOD_STILL) this.#options.ask();
      else this.#options.onSilence();
    }, SILENCE);
  }

  /** Something came; any byte is an answer. */
  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  stop(): void {
    this.heard();
  }
}
