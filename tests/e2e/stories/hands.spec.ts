// Fingers, and keys that a browser keeps for itself.

import type { CDPSession, Page } from '@playwright/test';

import { black, type Colour, type Gimp, isColour, type Point, white } from '../gimp.ts';
import { until } from '../platform.ts';
import { expect, register, startGimp, test } from '../story.ts';

/** Fingers on the picture, as the browser's own input reports them. */
class Fingers {
  readonly #wire: CDPSession;

  private constructor(wire: CDPSession) {
    this.#wire = wire;
  }

  static async on(page: Page): Promise<Fingers> {
    return new Fingers(await page.context().newCDPSession(page));
  }

  async #send(type: 'touchStart' | 'touchMove' | 'touchEnd', touchPoints: Point[]): Promise<void> {
    await this.#wire.send('Input.dispatchTouchEvent', { type, touchPoints });
  }

  async down(...points: Point[]): Promise<void> {
    await this.#send('touchStart', points);
  }

  async up(): Promise<void> {
    await this.#send('touchEnd', []);
  }

  async tap(at: Point): Promise<void> {
    await this.down(at);
    await this.up();
  }

  /** Each finger from its first to its second place, in a dozen steps. */
  async drag(...paths: [from: Point, to: Point][]): Promise<void> {
    await this.down(...paths.map(([from]) => from));
    for (let step = 1; step <= 12; step++) {
      const part = step / 12;
      await this.#send('touchMove', paths.map(([from, to]) => ({ x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part })));
      await this.#wire.send('Runtime.evaluate', { expression: 'new Promise(requestAnimationFrame)', awaitPromise: true });
    }
    await this.up();
  }
}

/** Rows of the middle column that look so. */
async function rows(gimp: Gimp, wanted: Colour): Promise<number[]> {
  const { width, height } = await gimp.size();
  const column = await gimp.canvas.evaluate(
    (canvas: HTMLCanvasElement, { x, height }) => [...canvas.getContext('2d')!.getImageData(x, 0, 1, height).data],
    { x: width >> 1, height },
  );
  return Array.from({ length: height }, (_, y) => y).filter((y) => isColour(column.slice(y * 4, y * 4 + 3) as Colour, wanted));
}

test.describe('with fingers', () => {
  test.use({ hasTouch: true });

  test('tap, long press, two fingers to scroll, and pinch to zoom', async ({ page }) => {
    await register(page, 'ada@example.org');
    const gimp = await startGimp(page);
    await gimp.newImage();
    const fingers = await Fingers.on(page);
    const middle = await gimp.middle();

    // A tap paints a dot.
    await gimp.press('p');
    await fingers.tap(middle);
    await until('a dot shows', async () => isColour(await gimp.pixel(middle), black));
    await gimp.atRest();
    const dot = await rows(gimp, black);
    const paper = await rows(gimp, white);

    // Fingers that part enlarge it where they are.
    const at = (x: number, y = 0): Point => ({ x: middle.x + x, y: middle.y + y });
    await gimp.showing('zooming in', () => fingers.drag([at(-40), at(-220)], [at(40), at(220)]));
    const large = await rows(gimp, black);
    expect(large.length).toBeGreaterThan(dot.length * 1.3);

    // Two side by side take it along, there and back.
    const [up, down] = [at(0, -80), at(0, 100)];
    const both = (from: Point, to: Point) =>
      fingers.drag(...([-30, 30].map((x) => [{ x: from.x + x, y: from.y }, { x: to.x + x, y: to.y }]) as [Point, Point][]));
    await gimp.showing('scrolling', () => both(down, up));
    expect(await gimp.pixel(middle)).not.toEqual(black);
    await gimp.showing('scrolling back', () => both(up, down));
    expect(await gimp.pixel(middle)).toEqual(black);

    // Fingers that meet make it smaller than it was.
    await until('zoomed out', async () => {
      await fingers.drag([at(-220), at(-30)], [at(220), at(30)]);
      await gimp.atRest();
      return (await rows(gimp, white)).length < paper.length;
    });

    // A finger that stays is the right button: GIMP's menu.
    const still = await gimp.fingerprint();
    await fingers.down(middle);
    await until('the menu shows', async () => (await gimp.fingerprint()) !== still);
    await fingers.up();
    await gimp.atRest();
    const menu = await gimp.fingerprint();
    await gimp.press('Escape');
    await until('the menu is gone', async () => (await gimp.fingerprint()) !== menu);
  });
});

test('keys that browsers keep: from the menu, and directly in full screen', async ({ page }) => {
  await page.addInitScript(() => {
    const { keyboard } = navigator as Navigator & { keyboard: { lock(): Promise<void> } };
    const lock = keyboard.lock.bind(keyboard);
    keyboard.lock = async (...given: []) => {
      await lock(...given);
      document.documentElement.dataset['keysLocked'] = 'yes';
    };
  });
  await register(page, 'ada@example.org');
  const gimp = await startGimp(page);
  await gimp.newImage();
  const middle = await gimp.middle();
  const send = async (key: string) => {
    await page.mouse.move(640, 2);
    await page.getByRole('button', { name: 'Send keys' }).click();
    await page.getByRole('menuitem', { name: key }).click();
  };

  // Ctrl+Shift+N is the dialog for a new layer: Enter adds one, transparent or not, and Ctrl+N would be another image.
  await gimp.showing('the dialog', () => send('New layer'));
  await gimp.showing('its end', () => gimp.press('Escape'));
  expect(isColour(await gimp.pixel(middle), white)).toBe(true);
  // A mark on a ruler that follows the pointer is a change as well: the paper goes a moment later.
  const paper = async (at: Point) => isColour(await gimp.pixel(at), white);
  await gimp.showing('the image is closed', () => send('Close image'));
  await expect.poll(() => paper(middle), 'no paper is left').toBe(false);

  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: 'Full screen' }).click();
  await expect.poll(() => page.evaluate(() => document.fullscreenElement !== null)).toBe(true);
  await expect(page.locator('html')).toHaveAttribute('data-keys-locked', 'yes');
  await gimp.atRest();
  await gimp.newImage();
  await gimp.showing('the image is closed', () => gimp.press('Control+w'));
  await expect.poll(async () => paper(await gimp.middle())).toBe(false);
  await page.mouse.move(640, 2);
  await page.getByRole('button', { name: 'Leave full screen' }).click();
  await expect.poll(() => page.evaluate(() => document.fullscreenElement === null)).toBe(true);
});
