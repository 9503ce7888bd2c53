// The mouse's and pen's events as the session's: positions in its pixels, X's buttons, wheels in 1/120 of a notch.

import type { Action } from './messages';
import type { PictureSize } from '../transport';

/** X's numbers by the bits of `PointerEvent.buttons`. */
const BUTTONS = [1, 3, 2, 8, 9] as const;

export interface ButtonChange {
  button: number;
  down: boolean;
}

/** What to press and release when the pressed buttons change. Releases come first. */
export function buttonChanges(before: number, after: number): ButtonChange[] {
  const changes = BUTTONS.flatMap((button, bit) => {
    const [was, is] = [(before >> bit) & 1, (after >> bit) & 1];
    return was === is ? [] : [{ button, down: is === 1 }];
  });
  return changes.sort((a, b) => Number(a.down) - Number(b.down));
}

/** The session's pixel at a place of the page; the nearest one when that is beside the picture. */
export function pixelAt(clientX: number, clientY: number, box: DOMRectReadOnly, picture: PictureSize): { x: number; y: number } {
  const pixel = (at: number, length: number, pixels: number) => {
    const value = length > 0 ? Math.floor((at / length) * pixels) : 0;
    return Math.min(pixels - 1, Math.max(0, value));
  };
  return {
    x: pixel(clientX - box.left, box.width, picture.width),
    y: pixel(clientY - box.top, box.height, picture.height),
  };
}

/** 1/120 of a notch in what browsers call a pixel, a line and a page. Chromium's notch is 100 pixels, Firefox's 3 lines. */
const PER_UNIT = [120 / 100, 120 / 3, 120] as const;
const MOST = 0x7fff;

/** Adds up what is less than 1/120, which trackpads send. */
export class Wheel {
  #restX = 0;
  #restY = 0;

  turned({ deltaX, deltaY, deltaMode }: Pick<WheelEvent, 'deltaX' | 'deltaY' | 'deltaMode'>): { dx: number; dy: number } | null {
    const factor = PER_UNIT[deltaMode as 0 | 1 | 2] ?? PER_UNIT[0];
    this.#restX += deltaX * factor;
    this.#restY += deltaY * factor;
    const dx = clamped(this.#restX);
    const dy = clamped(this.#restY);
    this.#restX -= dx;
    this.#restY -= dy;
    return dx === 0 && dy === 0 ? null : { dx, dy };
  }
}

function clamped(value: number): number {
  const whole = Math.trunc(value);
  return Math.min(MOST, Math.max(-MOST, whole)) + 0;
}

export interface PointerInputOptions {
  element: HTMLElement;
  picture(): PictureSize | null;
  /** `at`: milliseconds of the page's clock. */
  act(action: Action, at: number): void;
  onDown(): unknown;
}

export class PointerInput {
  readonly #options: PointerInputOptions;
  readonly #wheel = new Wheel();
  #buttons = 0;
  #lastX = -1;
  #lastY = -1;

  constructor(options: PointerInputOptions, signal: AbortSignal) {
    this.#options = options;
    const { element } = options;
    // Raw updates come as they happen, moves once for a frame of the display. Only pages with TLS get them.
    const raw = 'onpointerrawupdate' in window;
    const on = <K extends keyof HTMLElementEventMap>(type: K, handle: (event: HTMLElementEventMap[K]) => void, passive = true) =>
      element.addEventListener(type, handle, { signal, passive });
    if (raw) on('pointerrawupdate' as 'pointermove', (event) => this.#moved(event));
    on('pointermove', (event) => (raw ? this.#buttonsOf(event) : this.#moved(event)));
    on('pointerdown', (event) => this.#down(event), false);
    on('pointerup', (event) => this.#buttonsOf(event));
    on('pointercancel', (event) => isTouch(event) || this.release(event.timeStamp));
    on('wheel', (event) => this.#turned(event), false);
    on('contextmenu', (event) => event.preventDefault(), false);
  }

  /** Lets go of every key and button in the session. */
  release(at: number): void {
    this.#buttons = 0;
    this.#options.act({ action: 'releaseAll' }, at);
  }

  #down(event: PointerEvent): void {
    if (isTouch(event)) return;
    // Else the browser scrolls with the middle button, selects text, and moves the focus by its own rules.
    event.preventDefault();
    this.#options.onDown();
    try {
      this.#options.element.setPointerCapture(event.pointerId);
    } catch {
      // The pointer has gone already.
    }
    this.#buttonsOf(event);
  }

  #moved(event: PointerEvent): void {
    if (isTouch(event)) return;
    const picture = this.#options.picture();
    if (!picture) return;
    const box = this.#options.element.getBoundingClientRect();
    const samples = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY, timeStamp } of samples.length > 0 ? samples : [event]) {
      const { x, y } = pixelAt(clientX, clientY, box, picture);
      if (x === this.#lastX && y === this.#lastY) continue;
      this.#lastX = x;
      this.#lastY = y;
      this.#options.act({ action: 'move', x, y }, timeStamp);
    }
    this.#buttonsOf(event);
  }

  // A second button comes as a move of the first, and a lost one is seen at the next move.
  #buttonsOf(event: PointerEvent): void {
    if (isTouch(event) || event.buttons === this.#buttons) return;
    const picture = this.#options.picture();
    if (!picture) return;
    const at = pixelAt(event.clientX, event.clientY, this.#options.element.getBoundingClientRect(), picture);
    this.#lastX = at.x;
    this.#lastY = at.y;
    for (const change of buttonChanges(this.#buttons, event.buttons)) {
      this.#options.act({ action: 'button', ...at, ...change }, event.timeStamp);
    }
    this.#buttons = event.buttons;
  }

  #turned(event: WheelEvent): void {
    event.preventDefault();
    const picture = this.#options.picture();
    const turned = picture && this.#wheel.turned(event);
    if (!turned) return;
    const at = pixelAt(event.clientX, event.clientY, this.#options.element.getBoundingClientRect(), picture);
    this.#options.act({ action: 'wheel', ...at, ...turned }, event.timeStamp);
  }
}

// Fingers make gestures, which are told apart elsewhere.
function isTouch(event: PointerEvent): boolean {
  return event.pointerType === 'touch';
}
