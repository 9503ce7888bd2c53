import { expect, test } from 'vitest';

import type { Op, Rect, Update, Video } from './messages';
import { type FrameDecoder, Painter } from './painter';
import type { Frame } from './surface';
import { FakeFrame, MemorySurface } from './testing/memorySurface';
import { seeded } from './testing/random';
import { encodePalette } from './testing/tileEncoder';
import { TileCache } from './tileCache';
import { TileDecoder } from './tiles';

const tiles = await TileDecoder.create();
const RED = [255, 0, 0] as const;
const GREEN = [0, 255, 0] as const;
const BLUE = [0, 0, 255] as const;
const BLACK = [0, 0, 0];

test('an update is drawn and acknowledged at once, its operations in their order', () => {
  const { painter, surface, drawn, sizes } = setup();
  painter.take(update(1, [size(8, 4), fill(at(0, 0, 8, 4), RED), fill(at(1, 1, 2, 2), GREEN)]), 0);
  expect(sizes).toEqual([[8, 4]]);
  expect([surface.at(0, 0), surface.at(1, 1), surface.at(3, 3)]).toEqual([[...RED], [...GREEN], [...RED]]);
  expect(drawn).toEqual([1]);
});

test('a tile in a slot is drawn again elsewhere, and in a slot used anew the later one', () => {
  const { painter, surface } = setup();
  painter.take(update(1, [size(8, 4), tile(at(0, 0, 2, 1), RED, 3), cached(at(4, 2, 2, 1), 3)]), 0);
  painter.take(update(2, [tile(at(0, 0, 2, 1), BLUE, 3), cached(at(6, 3, 2, 1), 3)]), 0);
  expect([surface.at(0, 0), surface.at(5, 2), surface.at(7, 3)]).toEqual([[...BLUE], [...RED], [...BLUE]]);
});

test('a copy may overlap with where it comes from', () => {
  const { painter, surface } = setup();
  painter.take(update(1, [size(4, 1), fill(at(0, 0, 1, 1), RED), fill(at(1, 0, 1, 1), GREEN), copy(at(0, 0, 3, 1), 1, 0)]), 0);
  expect([0, 1, 2, 3].map((x) => surface.at(x, 0))).toEqual([[...RED], [...RED], [...GREEN], BLACK]);
});

test('what covers pixels of a video that is being decoded waits for it', () => {
  const { painter, surface, video, drawn } = setup();
  painter.take(update(1, [size(8, 4)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 4, 4)])]), 0);
  painter.take(update(3, [fill(at(3, 0, 2, 1), GREEN)]), 0);
  expect(surface.at(4, 0)).toEqual(BLACK);
  expect(drawn).toEqual([1]);
  const frame = video.finish(RED);
  expect([surface.at(0, 0), surface.at(3, 0), surface.at(4, 0)]).toEqual([[...RED], [...GREEN], [...GREEN]]);
  expect(drawn).toEqual([1, 3]);
  expect(frame.closed).toBe(1);
});

test('what has nothing in common with the video is drawn at once, but not acknowledged before it', () => {
  const { painter, surface, video, drawn } = setup();
  painter.take(update(1, [size(8, 4)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 4, 4)])]), 0);
  painter.take(update(3, [fill(at(4, 0, 4, 4), GREEN)]), 0);
  expect(surface.at(4, 0)).toEqual([...GREEN]);
  expect(drawn).toEqual([1]);
  video.finish(RED);
  expect(surface.at(4, 0)).toEqual([...GREEN]);
  expect(drawn).toEqual([1, 3]);
});

test('what waits for something that waits, waits too', () => {
  const { painter, surface, video } = setup();
  painter.take(update(1, [size(8, 1)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 2, 1)])]), 0);
  // Reads what the video will draw.
  painter.take(update(3, [copy(at(0, 0, 2, 1), 4, 0)]), 0);
  painter.take(update(4, [fill(at(4, 0, 1, 1), BLUE)]), 0);
  expect(surface.at(4, 0)).toEqual(BLACK);
  video.finish(RED);
  expect([surface.at(4, 0), surface.at(5, 0)]).toEqual([[...BLUE], [...RED]]);
});

test('a slot holds what it held at its place in the stream', () => {
  const { painter, surface, video } = setup();
  painter.take(update(1, [size(8, 1), tile(at(0, 0, 1, 1), RED, 1)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 4, 1)]), cached(at(2, 0, 1, 1), 1)]), 0);
  painter.take(update(3, [tile(at(7, 0, 1, 1), GREEN, 1)]), 0);
  expect(surface.at(7, 0)).toEqual([...GREEN]);
  video.finish(BLUE);
  expect([surface.at(1, 0), surface.at(2, 0)]).toEqual([[...BLUE], [...RED]]);
});

test('a new size waits for the video of the old one, and everything waits for the size', () => {
  const { painter, surface, video } = setup();
  painter.take(update(1, [size(8, 4)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 1, 1)])]), 0);
  painter.take(update(3, [size(16, 4), fill(at(15, 3, 1, 1), GREEN)]), 0);
  painter.take(update(4, [fill(at(7, 0, 1, 1), BLUE)]), 0);
  expect(surface.width).toBe(8);
  video.finish(RED);
  expect(surface.width).toBe(16);
  expect([surface.at(0, 0), surface.at(15, 3), surface.at(7, 0)]).toEqual([BLACK, [...GREEN], [...BLUE]]);
});

test('a new size voids the slots, at its place in the stream', () => {
  const { painter, surface, video, lost } = setup();
  painter.take(update(1, [size(8, 1), tile(at(0, 0, 1, 1), RED, 1)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 4, 1)]), cached(at(2, 0, 1, 1), 1)]), 0);
  painter.take(update(3, [size(8, 1), tile(at(3, 0, 1, 1), GREEN, 2), cached(at(4, 0, 1, 1), 2)]), 0);
  video.finish(BLUE);
  expect([surface.at(3, 0), surface.at(4, 0)]).toEqual([[...GREEN], [...GREEN]]);
  painter.take(update(4, [cached(at(5, 0, 1, 1), 1)]), 0);
  expect(lost).toHaveLength(1);
});

test('exact is what the last update says, once nothing waits', () => {
  const { painter, video } = setup();
  expect(painter.exact).toBe(false);
  painter.take(update(1, [size(8, 4)], true), 0);
  expect(painter.exact).toBe(true);
  painter.take(update(2, [videoOp([at(0, 0, 1, 1)])], false), 0);
  painter.take(update(3, [fill(at(5, 0, 1, 1), RED)], true), 0);
  expect(painter.exact).toBe(false);
  expect(painter.settledAt).toBe(null);
  video.finish(RED);
  expect(painter.exact).toBe(true);
  expect(painter.settledAt).toBe(3);
});

test.each<[string, Op]>([
  ['a tile that cannot be decoded', { op: 'tile', rect: at(0, 0, 2, 2), codec: 'raw', slot: null, data: new Uint8Array(3) }],
  ['an empty slot', cached(at(0, 0, 1, 1), 9)],
  ['a place beside the screen', fill(at(7, 0, 2, 1), RED)],
  ['a copy to beside the screen', copy(at(0, 0, 2, 2), 7, 0)],
  ['a video beside the screen', videoOp([at(0, 3, 1, 2)])],
  ['a screen of nothing', size(0, 4)],
  ['a screen without end', size(65_535, 65_535)],
])('after %s the picture is asked for anew, once, and is right again from its size on', (_, op) => {
  const { painter, surface, drawn, lost } = setup();
  painter.take(update(1, [size(8, 4), tile(at(0, 0, 1, 1), RED, 1)], true), 0);
  painter.take(update(2, [op], true), 0);
  expect(lost).toHaveLength(1);
  expect(painter.exact).toBe(false);
  painter.take(update(3, [fill(at(1, 0, 1, 1), GREEN)], true), 0);
  painter.take(update(4, [cached(at(1, 0, 1, 1), 1)], true), 0);
  expect(surface.at(1, 0)).toEqual(BLACK);
  expect(painter.exact).toBe(false);
  painter.take(update(5, [size(8, 4), fill(at(0, 0, 8, 4), BLUE)], true), 0);
  expect(surface.at(1, 0)).toEqual([...BLUE]);
  expect(painter.exact).toBe(true);
  expect(lost).toHaveLength(1);
  expect(drawn).toEqual([1, 2, 3, 4, 5]);
});

test('a missing update is a lost picture', () => {
  const { painter, lost } = setup();
  painter.take(update(0xffff_ffff, [size(8, 4)]), 0);
  painter.take(update(0, []), 0);
  expect(lost).toHaveLength(0);
  painter.take(update(2, []), 0);
  expect(lost).toHaveLength(1);
});

test('frames that nobody waits for any more are closed, and none is left open', () => {
  const { painter, video, lost } = setup();
  painter.take(update(1, [size(8, 4)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 4, 4)]), videoOp([at(0, 0, 4, 4)])]), 0);
  const kept = video.finish(RED);
  expect(kept.closed).toBe(0);
  painter.lose('broken');
  expect(kept.closed).toBe(1);
  expect(lost).toEqual(['broken']);
  expect(video.resets).toBe(1);
});

test('whatever the decoder’s timing, the picture is that of the updates one after the other', () => {
  const random = seeded(3);
  const rect = (): Rect => {
    const [x, y] = [random(10), random(6)];
    return at(x, y, 1 + random(10 - x), 1 + random(6 - y));
  };
  const colour = () => [random(256), random(256), random(256)] as const;
  for (let round = 0; round < 200; round++) {
    const real = setup();
    const reference = new MemorySurface();
    const waiting: (readonly [number, number, number])[] = [];
    real.painter.take(update(1, [size(10, 6)]), 0);
    reference.resize(10, 6);
    for (let seq = 2; seq < 40; seq++) {
      const ops: Op[] = [];
      for (let count = random(3); count >= 0; count--) {
        const where = rect();
        const rgb = colour();
        switch (random(3)) {
          case 0:
            ops.push(videoOp([where]));
            waiting.push(rgb);
            reference.fill(where, rgb);
            break;
          case 1:
            ops.push(tile(where, rgb, random(2) ? random(4) : null));
            reference.fill(where, rgb);
            break;
          case 2: {
            const [toX, toY] = [random(11 - where.width), random(7 - where.height)];
            ops.push(copy(where, toX, toY));
            reference.copy(where, toX, toY);
            break;
          }
        }
      }
      real.painter.take(update(seq, ops), 0);
      while (waiting.length > 0 && random(3) > 0) real.video.finish(waiting.shift() ?? RED);
    }
    for (const rgb of waiting) real.video.finish(rgb);
    expect(real.lost).toEqual([]);
    expect(Buffer.compare(Buffer.from(real.surface.read()), Buffer.from(reference.read()))).toBe(0);
    expect(real.drawn.at(-1)).toBe(39);
    expect(real.video.frames.every(({ closed }) => closed === 1)).toBe(true);
  }
});

test('what is told of drawing is without the wait for an access unit on its way', () => {
  const { painter, video, took, clock } = setup();
  painter.take(update(1, [size(8, 4)]), 0);
  painter.take(update(2, [videoOp([at(0, 0, 4, 4)])]), 100);
  clock.now = 150;
  video.finish(RED, 42);
  expect(took).toEqual([0, 8]);
});

class FakeDecoder implements FrameDecoder {
  readonly frames: FakeFrame[] = [];
  #waiting: ((frame: Frame, waited: number) => void)[] = [];
  resets = 0;

  decode(_: Video, __: number, ___: number, done: (frame: Frame, waited: number) => void): void {
    this.#waiting.push(done);
  }

  reset(): void {
    this.#waiting = [];
    this.resets++;
  }

  /** The oldest frame is there. */
  finish(rgb: readonly [number, number, number], waited = 0): FakeFrame {
    const frame = new FakeFrame(rgb);
    this.frames.push(frame);
    this.#waiting.shift()?.(frame, waited);
    return frame;
  }
}

function setup() {
  const surface = new MemorySurface();
  const video = new FakeDecoder();
  const drawn: number[] = [];
  const sizes: number[][] = [];
  const lost: unknown[] = [];
  const took: number[] = [];
  const clock = { now: 0 };
  const painter = new Painter({
    surface,
    tiles,
    video,
    cache: new TileCache(1_000),
    now: () => clock.now,
    onDrawn: (seq, ms) => {
      drawn.push(seq);
      took.push(ms);
    },
    onPainted: () => undefined,
    onSize: (width, height) => sizes.push([width, height]),
    onLost: (reason) => lost.push(reason),
  });
  return { painter, surface, video, drawn, sizes, lost, took, clock };
}

function update(seq: number, ops: Op[], exact = false): Update {
  return { seq, exact, capturedUs: 0, input: 0, ops };
}

function at(x: number, y: number, width: number, height: number): Rect {
  return { x, y, width, height };
}

function size(width: number, height: number): Op {
  return { op: 'size', width, height };
}

function fill(rect: Rect, rgb: readonly [number, number, number]): Op {
  return { op: 'fill', rect, rgb };
}

function copy(rect: Rect, toX: number, toY: number): Op {
  return { op: 'copy', rect, toX, toY };
}

function cached(rect: Rect, slot: number): Op {
  return { op: 'cached', rect, slot };
}

function videoOp(rects: Rect[]): Op {
  return { op: 'video', format: 'h264', keyframe: true, rects, source: { at: 'here', data: new Uint8Array([0, 0, 0, 1]) } };
}

function tile(rect: Rect, rgb: readonly [number, number, number], slot: number | null): Op {
  const pixels = new Uint8Array(rect.width * rect.height * 3).map((_, i) => rgb[i % 3] ?? 0);
  return { op: 'tile', rect, codec: 'palette', slot, data: encodePalette(pixels, rect.width, rect.height) };
}
