// What the painter draws on: a canvas of the page.

import type { Rect } from './messages';

/** A decoded picture; must be closed. */
export type Frame = Pick<VideoFrame, 'close'>;

/** A part of a decoded picture, with its pixels at hand. */
export class PixelFrame implements Frame {
  readonly #onClose: () => void;

  constructor(
    readonly image: ImageData,
    /** Where on the screen the image lies. */
    readonly x: number,
    readonly y: number,
    onClose: () => void,
  ) {
    this.#onClose = onClose;
  }

  close(): void {
    this.#onClose();
  }
}

/** All rectangles lie within the size. */
export interface Surface {
  readonly width: number;
  readonly height: number;
  /** What was drawn is void. */
  resize(width: number, height: number): void;
  fill(rect: Rect, rgb: readonly [number, number, number]): void;
  /** `rgba` is not kept. */
  pixels(rect: Rect, rgba: Uint8ClampedArray<ArrayBuffer>): void;
  /** The same, but pixels without alpha stay as they are. */
  over(rect: Rect, rgba: Uint8ClampedArray<ArrayBuffer>): void;
  /** Source and destination may overlap. */
  copy(rect: Rect, toX: number, toY: number): void;
  /** The parts of the frame that lie where `rects` are. */
  frame(frame: Frame, rects: readonly Rect[]): void;
  /** Red, green, blue, 255 of every pixel. */
  read(): Uint8ClampedArray<ArrayBuffer>;
}

/** Pixels on a side of what is read for a trial: what browsers add is a few pixels in thousands. */
const TRIAL = 64;

/**
 * Whether pixels are read as they were drawn. Against fingerprinting some browsers give others: Firefox in private windows,
 * Brave.
 */
export function readsTruly(): boolean {
  const context = new OffscreenCanvas(TRIAL, TRIAL).getContext('2d', { alpha: false, willReadFrequently: true });
  if (!context) return false;
  const colours: number[] = [];
  for (let at = 0; at < TRIAL * TRIAL; at++) {
    const colour = [(at * 7) & 255, (at * 31) & 255, (at >> 4) & 255];
    context.fillStyle = `rgb(${colour.join(',')})`;
    context.fillRect(at % TRIAL, Math.floor(at / TRIAL), 1, 1);
    colours.push(...colour, 255);
  }
  return context.getImageData(0, 0, TRIAL, TRIAL).data.every((value, at) => value === colours[at]);
}

export class CanvasSurface implements Surface {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  /** Where pixels are laid out that are drawn over others. */
  readonly #sheet = new OffscreenCanvas(1, 1);

  /** `onVoid`: browser or graphics card took away what was drawn; it can be drawn again. */
  constructor(canvas: HTMLCanvasElement, onVoid: () => void) {
    this.#canvas = canvas;
    canvas.addEventListener('contextrestored', onVoid);
    const context = canvas.getContext('2d', { alpha: false, desynchronized: true });
    if (!context) throw new Error('no 2D canvas');
    this.#context = context;
  }

  get width(): number {
    return this.#canvas.width;
  }

  get height(): number {
    return this.#canvas.height;
  }

  resize(width: number, height: number): void {
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#context.imageSmoothingEnabled = false;
  }

  fill({ x, y, width, height }: Rect, [red, green, blue]: readonly [number, number, number]): void {
    this.#context.fillStyle = `rgb(${red},${green},${blue})`;
    this.#context.fillRect(x, y, width, height);
  }

  pixels({ x, y, width, height }: Rect, rgba: Uint8ClampedArray<ArrayBuffer>): void {
    this.#context.putImageData(new ImageData(rgba, width, height), x, y);
  }

  over({ x, y, width, height }: Rect, rgba: Uint8ClampedArray<ArrayBuffer>): void {
    const sheet = this.#sheet;
    if (sheet.width < width) sheet.width = width;
    if (sheet.height < height) sheet.height = height;
    const context = sheet.getContext('2d');
    if (!context || context.isContextLost()) throw new Error('no 2D canvas');
    context.putImageData(new ImageData(rgba, width, height), 0, 0);
    this.#context.drawImage(sheet, 0, 0, width, height, x, y, width, height);
  }

  copy({ x, y, width, height }: Rect, toX: number, toY: number): void {
    this.#context.drawImage(this.#canvas, x, y, width, height, toX, toY, width, height);
  }

  frame(frame: Frame, rects: readonly Rect[]): void {
    const context = this.#context;
    if (frame instanceof PixelFrame) {
      for (const { x, y, width, height } of rects) {
        context.putImageData(frame.image, frame.x, frame.y, x - frame.x, y - frame.y, width, height);
      }
      return;
    }
    if (rects.length === 0) return;
    // Once for all of them: each time all of the frame is converted.
    context.save();
    context.beginPath();
    for (const { x, y, width, height } of rects) context.rect(x, y, width, height);
    context.clip();
    context.drawImage(frame as VideoFrame, 0, 0);
    context.restore();
  }

  // By way of another canvas: a browser that sees a canvas read too often draws it without the graphics card from then on.
  read(): Uint8ClampedArray<ArrayBuffer> {
    const copy = new OffscreenCanvas(this.width, this.height);
    const context = copy.getContext('2d', { alpha: false, willReadFrequently: true });
    if (!context) throw new Error('no 2D canvas');
    context.drawImage(this.#canvas, 0, 0);
    return context.getImageData(0, 0, this.width, this.height).data;
  }
}
