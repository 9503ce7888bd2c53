// The session's cursor, drawn by the browser: it follows the hand without a round trip.

import type { CursorImage } from './messages';

/**
 * As CSS. `scale`: pixels of the session to one of CSS. Browsers cut the hot spot to whole pixels and refuse images that
 * are larger than 128.
 */
export function cursorStyle({ hotX, hotY, width, height }: Omit<CursorImage, 'rgba'>, url: string, scale: number): string {
  if (width === 0 || height === 0) return 'none';
  const hot = `${Math.round(hotX / scale)} ${Math.round(hotY / scale)}`;
  const image = Math.abs(scale - 1) < 0.01 ? `url("${url}")` : `image-set(url("${url}") ${scale.toFixed(3)}x)`;
  return `${image} ${hot}, default`;
}

export class SessionCursor {
  readonly #element: HTMLElement;
  /** Under a finger browsers show no cursor. */
  readonly #underFinger = document.createElement('img');
  #finger: { x: number; y: number } | null = null;
  #cursor: CursorImage | null = null;
  #url = '';
  #scale = 1;

  /** `element`: the picture, in a parent of its size that is positioned. */
  constructor(element: HTMLElement) {
    this.#element = element;
    this.#underFinger.alt = '';
    Object.assign(this.#underFinger.style, { position: 'absolute', maxWidth: 'none', pointerEvents: 'none', userSelect: 'none' });
  }

  /** A finger has the pointer, in the page's pixels; null: a mouse has it again. */
  set finger(at: { x: number; y: number } | null) {
    this.#finger = at;
    this.#follow();
  }

  show(cursor: CursorImage): void {
    this.#cursor = cursor;
    this.#url = cursor.width * cursor.height > 0 ? dataUrl(cursor) : '';
    this.#apply();
  }

  /** Pixels of the session to one of CSS. */
  set scale(scale: number) {
    if (scale === this.#scale) return;
    this.#scale = scale;
    this.#apply();
  }

  #apply(): void {
    if (!this.#cursor) return;
    this.#element.style.cursor = cursorStyle(this.#cursor, this.#url, this.#scale);
    if (this.#url) this.#underFinger.src = this.#url;
    this.#follow();
  }

  #follow(): void {
    const image = this.#underFinger;
    const [at, cursor, parent] = [this.#finger, this.#cursor, this.#element.parentElement];
    if (!at || !cursor || !parent || this.#url === '') {
      image.remove();
      return;
    }
    const box = parent.getBoundingClientRect();
    Object.assign(image.style, {
      left: `${at.x - box.left - cursor.hotX / this.#scale}px`,
      top: `${at.y - box.top - cursor.hotY / this.#scale}px`,
      width: `${cursor.width / this.#scale}px`,
    });
    if (!image.isConnected) parent.append(image);
  }
}

function dataUrl({ width, height, rgba }: CursorImage): string {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(new Uint8ClampedArray(rgba), width, height);
  canvas.getContext('2d')?.putImageData(image, 0, 0);
  return canvas.toDataURL();
}
