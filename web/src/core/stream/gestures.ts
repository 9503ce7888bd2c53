// Fingers as a mouse: noVNC tells gestures apart, and they mean what they mean in its view. One finger taps and drags with
// the left button; held still, and with two fingers, it is the right one, with three the middle one; two fingers scroll,
// and zoom by Ctrl and the wheel.

import GestureHandler from 'novnc-core/input/gesturehandler.js';

import type { PictureSize } from '../transport';
import type { Action } from './messages';
import { pixelAt } from './pointer';

/** What noVNC says of a gesture; magnitudes in the page's pixels, for `twodrag` and `pinch`. */
export interface GestureDetail {
  type: 'onetap' | 'twotap' | 'threetap' | 'drag' | 'longpress' | 'twodrag' | 'pinch';
  clientX: number;
  clientY: number;
  magnitudeX?: number;
  magnitudeY?: number;
}

export interface GestureInputOptions {
  element: HTMLElement;
  picture(): PictureSize | null;
  /** `at`: milliseconds of the page's clock. */
  act(action: Action, at: number): void;
  onDown(): unknown;
  /** Presses and releases Ctrl in the session. */
  control(down: boolean): void;
  /** Where the pointer is, in the page's pixels. */
  onFinger(at: { x: number; y: number }): void;
}

/** The page's pixels for a notch of the wheel. */
const SCROLL_NOTCH = 50;
const ZOOM_NOTCH = 75;
const NOTCH = 120;
/** Taps so near in time (milliseconds) and place are meant for the same spot. */
const DOUBLE_TAP_TIME = 1_000;
const DOUBLE_TAP_DISTANCE = 50;

const BUTTONS = { onetap: 1, drag: 1, threetap: 2, twotap: 3, longpress: 3 } as const;

interface Place {
  clientX: number;
  clientY: number;
}

export class GestureInput {
  readonly #options: GestureInputOptions;
  readonly #handler = new GestureHandler();
  #firstTap: (GestureDetail & { at: number }) | null = null;
  /** What of the magnitudes has been turned into wheel. */
  #doneX = 0;
  #doneY = 0;

  constructor(options: GestureInputOptions, signal: AbortSignal) {
    this.#options = options;
    const { element } = options;
    this.#handler.attach(element);
    // The handler keeps the browser from moving the focus.
    element.addEventListener('touchstart', () => options.onDown(), { signal, passive: true });
    const on = (type: string, handle: (detail: GestureDetail, at: number) => void) =>
      element.addEventListener(type, (event) => handle((event as CustomEvent<GestureDetail>).detail, event.timeStamp), { signal });
    on('gesturestart', (detail, at) => this.#start(detail, at));
    on('gesturemove', (detail, at) => this.#move(detail, at));
    on('gestureend', (detail, at) => this.#end(detail, at));
  }

  stop(): void {
    this.#handler.detach();
  }

  #start(detail: GestureDetail, at: number): void {
    switch (detail.type) {
      case 'onetap':
      case 'twotap':
      case 'threetap':
        this.#tap(detail, BUTTONS[detail.type], at);
        break;
      case 'drag':
      case 'longpress':
        this.#point(detail, at);
        this.#button(detail, BUTTONS[detail.type], true, at);
        break;
      case 'twodrag':
        this.#doneX = detail.magnitudeX ?? 0;
        this.#doneY = detail.magnitudeY ?? 0;
        this.#point(detail, at);
        break;
      case 'pinch':
        this.#doneX = distance(detail);
        this.#point(detail, at);
        break;
    }
  }

  #move(detail: GestureDetail, at: number): void {
    switch (detail.type) {
      case 'drag':
      case 'longpress':
        this.#point(detail, at);
        break;
      case 'twodrag':
        this.#scroll(detail, at);
        break;
      case 'pinch':
        this.#zoom(detail, at);
        break;
      default:
        break;
    }
  }

  #end(detail: GestureDetail, at: number): void {
    if (detail.type !== 'drag' && detail.type !== 'longpress') return;
    this.#point(detail, at);
    this.#button(detail, BUTTONS[detail.type], false, at);
  }

  #tap(detail: GestureDetail, button: number, at: number): void {
    const first = this.#firstTap;
    const again =
      first !== null &&
      first.type === detail.type &&
      at - first.at < DOUBLE_TAP_TIME &&
      Math.hypot(first.clientX - detail.clientX, first.clientY - detail.clientY) < DOUBLE_TAP_DISTANCE;
    this.#firstTap = { ...(again ? first : detail), at };
    this.#point(this.#firstTap, at);
    this.#button(this.#firstTap, button, true, at);
    this.#button(this.#firstTap, button, false, at);
  }

  // The picture goes where the fingers go. Always at the place where they began.
  #scroll(detail: GestureDetail, at: number): void {
    const units = (moved: number) => Math.trunc((-moved * NOTCH) / SCROLL_NOTCH) + 0;
    const dx = units((detail.magnitudeX ?? 0) - this.#doneX);
    const dy = units((detail.magnitudeY ?? 0) - this.#doneY);
    if (dx === 0 && dy === 0) return;
    this.#doneX -= (dx * SCROLL_NOTCH) / NOTCH;
    this.#doneY -= (dy * SCROLL_NOTCH) / NOTCH;
    this.#wheel(detail, dx, dy, at);
  }

  // Whole notches, so that none is finished after Ctrl is up.
  #zoom(detail: GestureDetail, at: number): void {
    const notches = Math.trunc((distance(detail) - this.#doneX) / ZOOM_NOTCH);
    if (notches === 0) return;
    this.#doneX += notches * ZOOM_NOTCH;
    this.#options.control(true);
    this.#wheel(detail, 0, -notches * NOTCH, at);
    this.#options.control(false);
  }

  #point(place: Place, at: number): void {
    this.#options.onFinger({ x: place.clientX, y: place.clientY });
    const pixel = this.#pixel(place);
    if (pixel) this.#options.act({ action: 'move', ...pixel }, at);
  }

  #button(place: Place, button: number, down: boolean, at: number): void {
    const pixel = this.#pixel(place);
    if (pixel) this.#options.act({ action: 'button', ...pixel, button, down }, at);
  }

  #wheel(place: Place, dx: number, dy: number, at: number): void {
    const pixel = this.#pixel(place);
    if (pixel) this.#options.act({ action: 'wheel', ...pixel, dx, dy }, at);
  }

  #pixel({ clientX, clientY }: Place): { x: number; y: number } | null {
    const picture = this.#options.picture();
    return picture && pixelAt(clientX, clientY, this.#options.element.getBoundingClientRect(), picture);
  }
}

function distance({ magnitudeX = 0, magnitudeY = 0 }: GestureDetail): number {
  return Math.hypot(magnitudeX, magnitudeY);
}
