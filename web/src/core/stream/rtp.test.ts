import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { Video } from './messages';
import { type AccessUnit, RtpDecoder } from './rtp';
import type { Frame } from './surface';
import { FakeFrame } from './testing/memorySurface';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('access units are decoded in the order of their updates, whichever came first', () => {
  const { rtp, units } = setup();
  rtp.arrived(unit(20));
  rtp.decode(video(10), 8, 4, () => undefined);
  rtp.decode(video(20), 8, 4, () => undefined);
  rtp.decode(video('here'), 8, 4, () => undefined);
  expect(units).toEqual([]);
  rtp.arrived(unit(10));
  expect(units.map(({ data }) => data[0])).toEqual([10, 20, 99]);
});

test('it tells how long an access unit was waited for', () => {
  const { rtp, finish } = setup();
  const waits: number[] = [];
  rtp.decode(video(10), 8, 4, (_, waited) => waits.push(waited));
  vi.advanceTimersByTime(30);
  rtp.arrived(unit(10));
  rtp.decode(video('here'), 8, 4, (_, waited) => waits.push(waited));
  // Decoding is no waiting.
  vi.advanceTimersByTime(5);
  finish();
  finish();
  expect(waits).toEqual([30, 0]);
});

test('one that does not come is given up, and after that nothing is', () => {
  const { rtp, units, missed } = setup();
  rtp.decode(video(10), 8, 4, () => undefined);
  vi.advanceTimersByTime(99);
  expect(missed).toHaveLength(0);
  vi.advanceTimersByTime(1);
  expect(missed).toHaveLength(1);
  rtp.reset();
  rtp.decode(video('here'), 8, 4, () => undefined);
  vi.advanceTimersByTime(1000);
  expect([missed.length, units.length]).toEqual([1, 1]);
});

test('the end of the connection gives up what is waited for, and only that', () => {
  const { rtp, missed } = setup();
  rtp.end();
  expect(missed).toHaveLength(0);
  rtp.decode(video(10), 8, 4, () => undefined);
  rtp.end();
  expect(missed).toHaveLength(1);
});

test('units that no update names do not gather', () => {
  const { rtp, units } = setup();
  for (let timestamp = 1; timestamp <= 100; timestamp++) rtp.arrived(unit(timestamp));
  rtp.decode(video(100), 8, 4, () => undefined);
  rtp.decode(video(1), 8, 4, () => undefined);
  expect(units.map(({ data }) => data[0])).toEqual([100]);
});

function setup() {
  const units: AccessUnit[] = [];
  const dones: ((frame: Frame) => void)[] = [];
  const missed: unknown[] = [];
  const decoder = {
    decode: (unit: AccessUnit, _: number, __: number, done: (frame: Frame) => void) => {
      units.push(unit);
      dones.push(done);
    },
    reset: () => undefined,
  };
  const rtp = new RtpDecoder(decoder, () => 100, (error) => missed.push(error));
  return { rtp, units, missed, finish: () => dones.shift()?.(new FakeFrame([0, 0, 0])) };
}

function unit(timestamp: number) {
  return { timestamp, data: new Uint8Array([timestamp]).buffer };
}

function video(at: number | 'here'): Video {
  const source = at === 'here' ? ({ at: 'here', data: new Uint8Array([99]) } as const) : ({ at: 'rtp', timestamp: at } as const);
  return { op: 'video', format: 'h264', keyframe: true, rects: [], source };
}
