// Pinching on a trackpad: browsers report it as a wheel with Ctrl that nobody pressed. Pressing Ctrl in the session
// makes GIMP zoom, as with a real Ctrl and wheel.

/** Milliseconds after the last such event until Ctrl is released. */
const RELEASE = 120;

export class TrackpadPinch {
  readonly #abort = new AbortController();
  readonly #control: (down: boolean) => void;
  #held = false;
  #pressed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `control` presses and releases Ctrl in the session. */
  constructor(element: HTMLElement, control: (down: boolean) => void) {
    this.#control = control;
    const signal = this.#abort.signal;
    const options = { signal, capture: true };
    window.addEventListener('keydown', (event) => this.#key(event, true), options);
    window.addEventListener('keyup', (event) => this.#key(event, false), options);
    window.addEventListener('blur', () => (this.#held = false), { signal });
    // Captured, so that Ctrl is down before the transport sees the wheel.
    element.addEventListener('wheel', (event) => this.#wheel(event), { ...options, passive: true });
  }

  stop(): void {
    this.#release();
    this.#abort.abort();
  }

  #key(event: KeyboardEvent, down: boolean): void {
    if (event.key === 'Control') this.#held = down;
  }

  #wheel(event: WheelEvent): void {
    if (!event.ctrlKey || this.#held) return;
    if (!this.#pressed) {
      this.#pressed = true;
      this.#control(true);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#release(), RELEASE);
  }

  #release(): void {
    clearTimeout(this.#timer);
    if (!this.#pressed) return;
    this.#pressed = false;
    this.#control(false);
  }
}
