// GIMP as a person sees it through the browser: pixels, mouse, keys. Coordinates are the picture's own pixels.

import { expect, type Locator, type Page } from '@playwright/test';

import { until } from './platform.ts';

/** Whether a file is there. */
export type Exists = () => boolean | Promise<boolean>;

export type Colour = [red: number, green: number, blue: number];

export interface Point {
  x: number;
  y: number;
}

export class Gimp {
  readonly page: Page;
  readonly canvas: Locator;

  constructor(page: Page) {
    this.page = page;
    this.canvas = page.getByTestId('session-canvas').locator('canvas');
  }

  /** Connected, and GIMP is drawn: a window full of widgets has many colours, an empty screen has one or two. */
  async painted(): Promise<void> {
    await expect(this.page.getByTestId('session-state')).toHaveAttribute('data-state', 'connected', { timeout: 60_000 });
    await until('GIMP is painted', async () => (await this.colours()) > 40, 30);
    await this.atRest();
  }

  async size(): Promise<{ width: number; height: number }> {
    return this.canvas.evaluate((canvas: HTMLCanvasElement) => ({ width: canvas.width, height: canvas.height }));
  }

  async pixel(at: Point): Promise<Colour> {
    return this.canvas.evaluate((canvas: HTMLCanvasElement, { x, y }) => {
      const [red, green, blue] = canvas.getContext('2d')!.getImageData(x, y, 1, 1).data;
      return [red, green, blue] as [number, number, number];
    }, at);
  }

  /** How many different colours every fourth pixel has. */
  async colours(): Promise<number> {
    return this.canvas.evaluate((canvas: HTMLCanvasElement) => {
      if (canvas.width === 0) return 0;
      const pixels = new Uint32Array(canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
      const seen = new Set<number>();
      for (let at = 0; at < pixels.length; at += 4) seen.add(pixels[at]!);
      return seen.size;
    });
  }

  /** A number that changes with the picture. */
  async fingerprint(): Promise<number> {
    return this.canvas.evaluate((canvas: HTMLCanvasElement) => {
      const pixels = new Uint32Array(canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
      let hash = 17;
      for (let at = 0; at < pixels.length; at += 7) hash = (Math.imul(hash, 31) + pixels[at]!) | 0;
      return hash;
    });
  }

  /** Waits until the picture has not changed for half a second. */
  async atRest(): Promise<void> {
    let last = await this.fingerprint();
    let since = Date.now();
    await until('the picture is at rest', async () => {
      const now = await this.fingerprint();
      if (now !== last) {
        last = now;
        since = Date.now();
      }
      return Date.now() - since > 500;
    });
  }

  /** Does something that must show in the picture, and waits until it has and the picture is at rest. */
  async showing(what: string, action: () => Promise<void>): Promise<void> {
    const before = await this.fingerprint();
    await action();
    await until(`${what} shows`, async () => (await this.fingerprint()) !== before);
    await this.atRest();
  }

  async press(...keys: string[]): Promise<void> {
    for (const key of keys) await this.page.keyboard.press(key, { delay: 20 });
  }

  async type(text: string): Promise<void> {
    await this.page.keyboard.type(text, { delay: 20 });
  }

  async #onPage(at: Point): Promise<Point> {
    const box = await this.canvas.boundingBox();
    if (!box) throw new Error('GIMP is not on the page');
    const { width, height } = await this.size();
    return { x: box.x + ((at.x + 0.5) * box.width) / width, y: box.y + ((at.y + 0.5) * box.height) / height };
  }

  async move(at: Point): Promise<void> {
    const { x, y } = await this.#onPage(at);
    await this.page.mouse.move(x, y);
  }

  async click(at: Point): Promise<void> {
    const { x, y } = await this.#onPage(at);
    await this.page.mouse.move(x, y, { steps: 3 });
    await this.page.mouse.click(x, y, { delay: 30 });
  }

  async stroke(from: Point, to: Point): Promise<void> {
    const [start, end] = [await this.#onPage(from), await this.#onPage(to)];
    await this.page.mouse.move(start.x, start.y, { steps: 3 });
    await this.page.mouse.down();
    await this.page.mouse.move(end.x, end.y, { steps: 25 });
    await this.page.mouse.up();
  }

  async middle(): Promise<Point> {
    const { width, height } = await this.size();
    return { x: Math.floor(width / 2), y: Math.floor(height / 2) };
  }

  /** A new image of the size GIMP offers, white, in the middle of the window. */
  async newImage(): Promise<void> {
    await this.canvas.focus();
    const middle = await this.middle();
    // A GIMP that was only just painted may miss the first keys.
    await until(
      'the image is white',
      async () => {
        await this.press('Control+n');
        await this.atRest();
        await this.press('Enter');
        await this.atRest();
        return isColour(await this.pixel(middle), white);
      },
      60,
    );
  }

  /** Paints across the middle of the image with the paintbrush and sees the stroke arrive. */
  async paint(): Promise<void> {
    const { x, y } = await this.middle();
    await this.press('p');
    await this.stroke({ x: x - 120, y }, { x: x + 120, y });
    // Away from the stroke: the brush's outline is drawn where the pointer is.
    await this.move({ x, y: y + 150 });
    await until('the stroke shows', async () => isColour(await this.pixel({ x, y }), black));
  }

  /** Exports the image under a name, by keyboard; done when `exists`. */
  async exportAs(name: string, exists: Exists): Promise<void> {
    await this.#nameIn('Control+Shift+E', () => this.type(name), exists);
  }

  /** Saves the image as XCF under a name, by keyboard; done when `exists`. */
  async saveAs(name: string, exists: Exists): Promise<void> {
    await this.#nameIn('Control+Shift+S', () => this.type(name), exists);
  }

  /** Exports under the name in the clipboard. */
  async exportAsPasted(exists: Exists): Promise<void> {
    await this.#nameIn('Control+Shift+E', () => this.press('Control+v'), exists);
  }

  /** Opens a file dialog, which covers the middle of the image, and enters a name. */
  async fileDialog(shortcut: string, enterName: () => Promise<void>): Promise<void> {
    const middle = await this.middle();
    const before = await this.pixel(middle);
    await until('the file dialog shows', async () => {
      await this.press(shortcut);
      await this.atRest();
      return !isColour(await this.pixel(middle), before);
    });
    await this.press('Control+a');
    await enterName();
  }

  async #nameIn(shortcut: string, enterName: () => Promise<void>, exists: Exists): Promise<void> {
    const middle = await this.middle();
    const before = await this.pixel(middle);
    await this.fileDialog(shortcut, enterName);
    // The options of the format come in a window of their own, when their plug-in is ready: Enter until the file is there.
    await until('the file is on disk', async () => {
      await this.press('Enter');
      await this.atRest();
      return exists();
    });
    await until('the image shows again', async () => isColour(await this.pixel(middle), before));
    await this.atRest();
  }
}

export const white: Colour = [255, 255, 255];
export const black: Colour = [0, 0, 0];

/** JPEG on the way may change a value by a little. */
export function isColour(found: Colour, wanted: Colour): boolean {
  return found.every((value, index) => Math.abs(value - wanted[index]!) <= 12);
}
