// Somebody who paints: strokes with the mouse of a browser, each in a cell of its own of one picture, and when.

import { setTimeout as pause } from 'node:timers/promises';

import type { Page } from '@playwright/test';
import { PNG } from 'pngjs';

import { type Colour, Gimp, isColour, type Point } from '../gimp.ts';
import { until } from '../platform.ts';
import type { Dice } from './dice.ts';

/** GIMP's first brush is 51 pixels wide. */
const cell = 70;
const columns = 8;
const rows = 6;
const ground: Colour = [200, 30, 160];

/** Of one stroke, milliseconds. */
export interface Stroke {
  cell: number;
  began: number;
  ended: number;
}

/** The picture before anybody paints. */
export function groundPng(): Buffer {
  const image = new PNG({ width: columns * cell, height: rows * cell });
  for (let at = 0; at < image.data.length; at += 4) image.data.set([...ground, 255], at);
  return PNG.sync.write(image);
}

const middleOf = (index: number): Point => ({
  x: (index % columns) * cell + cell / 2,
  y: Math.floor(index / columns) * cell + cell / 2,
});

/** Points about the middle of a cell: a stroke covers all, the outline of a brush does not. */
const looks: Point[] = [0, 1, 2, 3, 4].map((i) => ({ x: (i - 2) * 4, y: ((i * 3) % 5) - 2 }));

/** Cells of an exported picture that are painted. */
export function paintedCells(image: PNG): Set<number> {
  if (image.width !== columns * cell || image.height !== rows * cell) throw new Error(`${image.width}x${image.height} is another picture`);
  const dark = ({ x, y }: Point) => image.data.subarray((y * image.width + x) * 4, (y * image.width + x) * 4 + 3).every((value) => value < 90);
  return cellsWhere((at) => dark(at));
}

function cellsWhere(dark: (at: Point) => boolean): Set<number> {
  const cells = Array.from({ length: columns * rows }, (_, index) => index);
  return new Set(cells.filter((index) => looks.every(({ x, y }) => dark({ x: middleOf(index).x + x, y: middleOf(index).y + y }))));
}

export class Painter {
  readonly strokes: Stroke[] = [];
  readonly #page: Page;
  readonly #gimp: Gimp;
  readonly #corner: Point;
  #stopped = false;

  private constructor(page: Page, gimp: Gimp, corner: Point) {
    this.#page = page;
    this.#gimp = gimp;
    this.#corner = corner;
  }

  /** Takes the paintbrush once the page shows the picture. */
  static async before(page: Page): Promise<Painter> {
    const gimp = new Gimp(page);
    const corner = await until('the whole picture shows', () => cornerOf(gimp), 60);
    await gimp.canvas.last().focus();
    await gimp.press('p');
    return new Painter(page, gimp, corner);
  }

  /**
   * Paints until told to stop, or all cells are painted: without a pause, or with some of up to `longestPause` milliseconds.
   */
  async paint(dice: Dice, longestPause: number): Promise<void> {
    const pausing = dice.roll() < 0.5;
    for (const index of dice.shuffled(Array.from({ length: columns * rows }, (_, index) => index))) {
      if (this.#stopped) return;
      await this.#stroke(index);
      const rest = pausing && dice.roll() < 0.25 ? dice.between(1000, longestPause) : dice.between(0, 500);
      const end = Date.now() + rest;
      while (!this.#stopped && Date.now() < end) await pause(Math.min(50, end - Date.now()));
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Cells that are painted on the page. */
  async seen(): Promise<Set<number>> {
    const points = Array.from({ length: columns * rows }, (_, index) => middleOf(index)).flatMap((middle) =>
      looks.map(({ x, y }) => ({ x: this.#corner.x + middle.x + x, y: this.#corner.y + middle.y + y })),
    );
    const colours = await this.#gimp.canvas.last().evaluate((canvas: HTMLCanvasElement, points) => {
      const { width } = canvas;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      return points.map(({ x, y }) => Math.max(data[(y * width + x) * 4]!, data[(y * width + x) * 4 + 1]!, data[(y * width + x) * 4 + 2]!));
    }, points);
    const dark = new Map(points.map((point, index) => [`${point.x} ${point.y}`, colours[index]! < 90]));
    return cellsWhere(({ x, y }) => dark.get(`${this.#corner.x + x} ${this.#corner.y + y}`) === true);
  }

  async #stroke(index: number): Promise<void> {
    const { x, y } = middleOf(index);
    const from = { x: this.#corner.x + x - 8, y: this.#corner.y + y };
    const began = Date.now();
    await this.#gimp.move(from);
    await this.#page.mouse.down();
    await this.#gimp.move({ x: from.x + 8, y: from.y });
    await this.#gimp.move({ x: from.x + 16, y: from.y });
    await this.#page.mouse.up();
    this.strokes.push({ cell: index, began, ended: Date.now() });
  }
}

/** Where the picture begins on the page's canvas, once all of it shows at its own size. */
async function cornerOf(gimp: Gimp): Promise<Point | null> {
  const { x, y } = await gimp.middle();
  if (x === 0 || !isColour(await gimp.pixel({ x, y }), ground)) return null;
  const [left, top, right, bottom] = await gimp.canvas.last().evaluate(
    (canvas: HTMLCanvasElement, { x, y, ground }) => {
      const { width } = canvas;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      const is = (x: number, y: number) => ground.every((value, i) => Math.abs(data[(y * width + x) * 4 + i]! - value) <= 12);
      const reach = (dx: number, dy: number) => {
        let [atX, atY] = [x, y];
        while (is(atX + dx, atY + dy)) [atX, atY] = [atX + dx, atY + dy];
        return dx === 0 ? atY : atX;
      };
      return [reach(-1, 0), reach(0, -1), reach(1, 0), reach(0, 1)] as const;
    },
    { x, y, ground },
  );
  // GIMP draws the edge of the layer over what is outermost.
  const fits = (found: number, whole: number) => found <= whole && found >= whole - 4;
  if (!fits(right - left + 1, columns * cell) || !fits(bottom - top + 1, rows * cell)) return null;
  return { x: Math.round((left + right + 1 - columns * cell) / 2), y: Math.round((top + bottom + 1 - rows * cell) / 2) };
}
