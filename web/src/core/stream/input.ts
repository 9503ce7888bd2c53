// Everything a person does to the picture, as one ordered stream of actions: pointer, wheel, keyboard, gestures. Nothing
// sticks: what is held is let go when the page loses the focus or is hidden.

import Keyboard from 'novnc-core/input/keyboard.js';

import { keysym } from '../keys';
import type { PictureSize } from '../transport';
import type { TimedAction } from './engine';
import { GestureInput } from './gestures';
import { keycodeOf } from './keycodes';
import type { Action } from './messages';
import { PointerInput } from './pointer';

export interface SessionInputOptions {
  /** The picture; takes the focus. */
  element: HTMLElement;
  picture(): PictureSize | null;
  send(actions: readonly TimedAction[]): void;
  /** A finger has the pointer, in the page's pixels; null: a mouse or pen has it. */
  onFinger(at: { x: number; y: number } | null): void;
}

export class SessionInput {
  readonly #options: SessionInputOptions;
  readonly #keyboard: Keyboard;
  readonly #pointer: PointerInput;
  readonly #gestures: GestureInput;
  readonly #abort = new AbortController();
  #batch: TimedAction[] = [];
  focusOnClick = true;

  constructor(options: SessionInputOptions) {
    this.#options = options;
    const { element } = options;
    const { signal } = this.#abort;
    const { picture, onFinger } = options;
    const act = (action: Action, at: number) => {
      // Ctrl belongs to the click or the wheel. Moves tell nothing: hands move while they type.
      if (action.action === 'button' || action.action === 'wheel') this.#keyboard._interruptAltGrSequence();
      this.#act(action, at);
    };
    const onDown = () => this.focusOnClick && element.focus({ preventScroll: true });
    this.#pointer = new PointerInput({ element, picture, act, onDown }, signal);
    const control = (down: boolean) => this.sendKey(keysym.control, 'ControlLeft', down);
    this.#gestures = new GestureInput({ element, picture, act, onDown, control, onFinger }, signal);
    element.addEventListener('pointermove', ({ pointerType }) => pointerType !== 'touch' && onFinger(null), { signal, passive: true });
    this.#keyboard = new Keyboard(element);
    this.#keyboard.onkeyevent = (keysym, code, down) => this.#key(keysym, code, down);
    this.#keyboard.grab();

    const release = () => this.releaseAll();
    element.addEventListener('blur', release, { signal });
    window.addEventListener('blur', release, { signal });
    window.addEventListener('pagehide', release, { signal });
    document.addEventListener('visibilitychange', () => document.hidden && release(), { signal });
  }

  /** Presses, releases, or types (`down` left out) a key. */
  sendKey(keysym: number, code: string, down?: boolean): void {
    // A Ctrl that is held back comes before.
    this.#keyboard._interruptAltGrSequence();
    if (down !== false) this.#key(keysym, code, true);
    if (down !== true) this.#key(keysym, code, false);
  }

  releaseAll(): void {
    // So that it forgets what is held; it lets go of each key by itself.
    this.#keyboard._allKeysUp();
    this.#pointer.release(performance.now());
  }

  stop(): void {
    this.#keyboard.ungrab();
    this.#gestures.stop();
    this.#abort.abort();
    this.#flush();
  }

  #key(keysym: number, code: string, down: boolean): void {
    this.#act({ action: 'key', keysym, keycode: keycodeOf(code), down }, performance.now());
  }

  // All that one event brings goes as one message, as soon as its handlers are done.
  #act(action: Action, at: number): void {
    if (this.#batch.length === 0) queueMicrotask(() => this.#flush());
    this.#batch.push({ ...action, at: Math.round((performance.timeOrigin + at) * 1000) });
  }

  #flush(): void {
    if (this.#batch.length > 0) this.#options.send(this.#batch);
    this.#batch = [];
  }
}
