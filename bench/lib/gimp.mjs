// GIMP on a stage, used as a person uses it: real mouse and key events of the browser. Positions are those of GIMP's single
// window at its first start, tool box on the left.

import { photograph, PHOTO } from './photo.mjs';
import { installPeek, inputToPixel } from './stage.mjs';
import { pause, until } from './platform.mjs';

/** Milliseconds between two events of a mouse. */
const EVERY = 8;

let photo;

/** Puts the photograph into the stage's workspace; before `show`. */
export const bringPhoto = (stage) => stage.upload((photo ??= photograph()));

/** Opens the photograph in the running GIMP, from the toolbar of the page. */
export async function openPhoto(stage) {
  const { page, width, height } = stage;
  await atRest(stage);
  await page.mouse.move(width / 2, 2);
  await page.getByRole('button', { name: 'Files', exact: true }).click();
  await page.getByTestId('file-list').getByRole('button', { name: PHOTO.name, exact: true }).click();
  // Its middle shows, which was grey without an image; then the panel and the toolbar go away.
  const grey = await coloursInTheMiddle(stage);
  await until(async () => (await coloursInTheMiddle(stage)) > grey + 50, 60_000);
  await page.keyboard.press('Escape');
  await page.locator('[data-testid=session-canvas] canvas').last().focus();
  await page.mouse.move(width / 2, height - 20);
  await pause(4500);
  await atRest(stage);
}

/** What a person does with it, in steps. Each leaves GIMP as the next expects it. */
export function story({ page, width, height }) {
  const middle = { x: Math.round(width * 0.43), y: Math.round(height * 0.5) };
  // By the clock, as a hand moves: it does not wait until the page has shown where it was.
  const drag = async (from, to, button, steps) => {
    await page.mouse.move(from.x, from.y);
    await page.mouse.down({ button });
    const moves = [];
    for (let i = 1; i <= steps; i++) {
      const along = i / steps;
      moves.push(page.mouse.move(from.x + (to.x - from.x) * along, from.y + (to.y - from.y) * along + 40 * Math.sin(along * 6)));
      await pause(EVERY);
    }
    await Promise.all(moves);
    await page.mouse.up({ button });
  };
  const from = (dx, dy) => ({ x: middle.x + dx * width * 0.15, y: middle.y + dy * height * 0.2 });
  const keys = async (...names) => {
    for (const name of names) {
      await page.keyboard.press(name, { delay: 20 });
      await pause(150);
    }
  };
  return {
    async zoom() {
      await page.mouse.move(middle.x, middle.y);
      await keys('1', 'Minus', 'Shift+Equal', 'Shift+Equal', '1');
    },
    async pan() {
      await drag(from(1, 1), from(-1, -1), 'middle', 180);
      await drag(from(-1, -1), from(1, 1), 'middle', 180);
    },
    async paint() {
      await keys('p');
      for (let stroke = 0; stroke < 5; stroke++) await drag(from(-1, stroke / 3 - 0.8), from(1, stroke / 3 - 0.6), 'left', 90);
    },
    async menus() {
      for (const menu of ['Alt+i', 'Alt+l']) {
        await keys(menu);
        await pause(500);
        await keys('Escape', 'Escape');
        await pause(300);
      }
    },
    async filter() {
      // Filters, Blur, Gaussian Blur: its window comes with a preview on the image.
      await keys('Alt+r', 'b', 'g');
      await pause(2500);
      await keys('Escape');
      await pause(1000);
    },
  };
}

/** Milliseconds from pointer to pixel, on two buttons of the tool box that light up in turns. */
export async function hoverToPixel({ page }, count) {
  await installPeek(page);
  const [left, right] = [20, 60];
  await page.mouse.move(left, 70);
  await pause(200);
  return inputToPixel(page, { event: 'pointermove', x: 8, y: 60, width: 64, count, act: (i) => page.mouse.move(i % 2 ? left : right, 70) });
}

/** Waits until the picture has not changed for half a second, by every 32nd row. */
export async function atRest({ page, width, height }) {
  await installPeek(page);
  await page.evaluate(
    async ([width, height]) => {
      const look = () => {
        let hash = 17;
        for (let y = 16; y < height; y += 32) for (const value of new Uint32Array(window.peek(0, y, width).buffer)) hash = (Math.imul(hash, 31) + value) | 0;
        return hash;
      };
      let [last, since] = [look(), performance.now()];
      while (performance.now() - since < 500) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        const now = look();
        if (now !== last) [last, since] = [now, performance.now()];
      }
    },
    [width, height],
  );
}

async function coloursInTheMiddle({ page, width, height }) {
  await installPeek(page);
  return page.evaluate(([x, y]) => new Set(new Uint32Array(window.peek(x, y, 400).buffer)).size, [Math.round(width * 0.43) - 200, Math.round(height / 2)]);
}
