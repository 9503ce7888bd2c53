import { expect, test } from 'vitest';

import { place, screenFor } from './screen';

test('asks for whole device pixels that fit', () => {
  expect(screenFor({ width: 1440, height: 900, ratio: 1 })).toEqual({ width: 1440, height: 900, scale: 1 });
  expect(screenFor({ width: 1151, height: 800, ratio: 1.25 })).toEqual({ width: 1438, height: 1000, scale: 1.25 });
  expect(screenFor({ width: 390, height: 844, ratio: 3 })).toEqual({ width: 1170, height: 2532, scale: 3 });
  // 1000 * 1.1 is 1100.0000000000002, 700 * 1.1 is 770.0000000000001: neither may lose a pixel.
  expect(screenFor({ width: 1000, height: 700, ratio: 1.1 })).toEqual({ width: 1100, height: 770, scale: 1.1 });
});

test('stays within what the server takes', () => {
  expect(screenFor({ width: 100, height: 50, ratio: 1 })).toEqual({ width: 320, height: 240, scale: 1 });
  expect(screenFor({ width: 5000, height: 4000, ratio: 5 })).toEqual({ width: 7680, height: 4320, scale: 4 });
  // A screen that stands may be as high as others are wide.
  expect(screenFor({ width: 1080, height: 1920, ratio: 2 })).toEqual({ width: 2160, height: 3840, scale: 2 });
  expect(screenFor({ width: 4000, height: 5000, ratio: 5 })).toEqual({ width: 4320, height: 7680, scale: 4 });
});

test('draws one to one when the picture is what was asked for', () => {
  for (const ratio of [1, 1.1, 1.25, 1.333, 1.5, 2, 2.625, 3]) {
    for (const [width, height] of [[1440, 900], [1151, 801], [390, 844], [733.3, 512.7]] as const) {
      const viewport = { width, height, ratio };
      const picture = screenFor(viewport);
      const at = place(picture, viewport);
      expect(at.exact).toBe(true);
      expect(at.width * ratio).toBeCloseTo(picture.width, 6);
      expect(at.height * ratio).toBeCloseTo(picture.height, 6);
      expect(at.left * ratio).toBeCloseTo(Math.round(at.left * ratio), 6);
      expect(at.left + at.width).toBeLessThanOrEqual(width + 0.01);
    }
  }
});

test('a size rounded by the X server is still drawn one to one, in the middle', () => {
  const at = place({ width: 1432, height: 896 }, { width: 1440, height: 900, ratio: 1 });
  expect(at).toEqual({ left: 4, top: 2, width: 1432, height: 896, exact: true });
});

test('a screen cut off by the server in one direction is not blurred', () => {
  const at = place({ width: 1170, height: 2160 }, { width: 390, height: 844, ratio: 3 });
  expect(at).toEqual({ left: 0, top: 62, width: 390, height: 720, exact: true });
});

test('any other picture is scaled to fit and keeps its proportions', () => {
  const larger = place({ width: 3840, height: 2160 }, { width: 1920, height: 1200, ratio: 1 });
  expect(larger).toEqual({ left: 0, top: 60, width: 1920, height: 1080, exact: false });
  const smaller = place({ width: 640, height: 480 }, { width: 1280, height: 1200, ratio: 1 });
  expect(smaller).toEqual({ left: 0, top: 120, width: 1280, height: 960, exact: false });
});
