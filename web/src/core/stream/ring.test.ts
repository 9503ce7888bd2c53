import { afterEach, expect, test, vi } from 'vitest';

import { canShare, ringMemory, RingReader, RingWriter } from './ring';
import { seeded } from './testing/random';

const readers: RingReader[] = [];

afterEach(() => {
  for (const reader of readers.splice(0)) reader.stop();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

test('records come whole, in their order, with their tags and the time they were written', async () => {
  const { writer, records } = ring(256);
  const before = performance.timeOrigin + performance.now();
  writer.write(7, Uint8Array.of(1, 2, 3));
  writer.write(0xffff_ffff, new Uint8Array());
  writer.write(8, Uint8Array.of(0, 4).subarray(1));
  const after = performance.timeOrigin + performance.now();
  expect(records).toEqual([]);
  await vi.waitFor(() => expect(records.map(({ tag, bytes }) => [tag, ...bytes])).toEqual([[7, 1, 2, 3], [0xffff_ffff], [8, 4]]));
  for (const { at } of records) expect(at >= before && at <= after).toBe(true);
});

test('a record longer than the ring passes in parts, and what is behind it waits', async () => {
  const { writer, records } = ring(64);
  const long = Uint8Array.from({ length: 1_000 }, (_, at) => at);
  writer.write(1, long);
  writer.write(2, Uint8Array.of(9));
  await vi.waitFor(() => expect(records.map(({ tag, bytes }) => ({ tag, bytes }))).toEqual([{ tag: 1, bytes: long }, { tag: 2, bytes: Uint8Array.of(9) }]));
});

test('a full ring keeps nobody waiting but what comes next, and loses nothing', async () => {
  const memory = ringMemory(64);
  const writer = new RingWriter(memory);
  const sent = Array.from({ length: 50 }, (_, tag) => tag);
  // Returns, although nobody reads.
  for (const tag of sent) writer.write(tag, new Uint8Array(10).fill(tag));
  const { records } = reading(memory);
  await vi.waitFor(() => expect(records).toHaveLength(50));
  expect(records.map(({ tag }) => tag)).toEqual(sent);
  expect(records.every(({ tag, bytes }) => bytes.length === 10 && bytes.every((byte) => byte === tag))).toBe(true);
});

test('records of any length, written at any time, come as they were; also where the counters begin anew', async () => {
  const random = seeded(5);
  for (const capacity of [32, 64, 1024]) {
    const memory = ringMemory(capacity);
    const counters = new Int32Array(memory, 0, 2);
    const nearTheEnd = -3 * capacity;
    counters.fill(nearTheEnd);
    const writer = new RingWriter(memory);
    const { records } = reading(memory);
    const sent: { tag: number; bytes: Uint8Array }[] = [];
    for (let tag = 0; tag < 300; tag++) {
      const bytes = Uint8Array.from({ length: random(4) === 0 ? random(3 * capacity) : random(20) }, () => random(256));
      sent.push({ tag, bytes: bytes.slice() });
      writer.write(tag, bytes);
      if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve));
    }
    await vi.waitFor(() => expect(records).toHaveLength(sent.length), 10_000);
    expect(records.map(({ tag, bytes }) => ({ tag, bytes }))).toEqual(sent);
    expect(counters[0]).toBe(counters[1]);
    expect(counters[0]! > nearTheEnd).toBe(true);
  }
});

test('at rest it sleeps', async () => {
  const { writer, records } = ring(256);
  writer.write(1, new Uint8Array(3));
  await vi.waitFor(() => expect(records).toHaveLength(1));
  await rest();
  const waits = vi.spyOn(Atomics, 'waitAsync');
  await rest();
  expect(waits).not.toHaveBeenCalled();
  writer.write(2, new Uint8Array(3));
  await vi.waitFor(() => expect(records).toHaveLength(2));
  await rest();
  expect(waits).toHaveBeenCalledTimes(1);
});

test('more than can be drawn leaves other tasks their turn', async () => {
  const memory = ringMemory(64);
  const writer = new RingWriter(memory);
  let left = 300;
  // Each record read is followed by another.
  const again = () => {
    if (left-- > 0) writer.write(1, new Uint8Array(4));
  };
  readers.push(new RingReader(memory, again));
  again();
  await new Promise((resolve) => setTimeout(resolve));
  expect(left).toBeGreaterThan(0);
  await vi.waitFor(() => expect(left).toBeLessThan(0));
});

test('one that was stopped tells nothing more, and does not wait any longer', async () => {
  const memory = ringMemory(256);
  const { records, reader } = reading(memory);
  const writer = new RingWriter(memory);
  await rest();
  reader.stop();
  writer.write(1, new Uint8Array(3));
  await rest();
  expect(records).toEqual([]);
  // Nobody is there to be notified.
  expect(Atomics.notify(new Int32Array(memory), 0)).toBe(0);
});

test('a listener that stops it in the middle hears nothing of the rest', async () => {
  const memory = ringMemory(256);
  const writer = new RingWriter(memory);
  const heard: number[] = [];
  const reader = new RingReader(memory, (tag) => {
    heard.push(tag);
    reader.stop();
  });
  writer.write(1, new Uint8Array(3));
  writer.write(2, new Uint8Array(3));
  await vi.waitFor(() => expect(heard).toEqual([1]));
  await rest();
  expect(heard).toEqual([1]);
});

test('a listener that throws is reported, and hears the next record', async () => {
  const reported = vi.fn();
  vi.stubGlobal('reportError', reported);
  const memory = ringMemory(256);
  const writer = new RingWriter(memory);
  const heard: number[] = [];
  const reader = new RingReader(memory, (tag) => {
    heard.push(tag);
    if (tag === 1) throw new Error('no canvas');
  });
  readers.push(reader);
  writer.write(1, new Uint8Array(3));
  writer.write(2, new Uint8Array(3));
  await vi.waitFor(() => expect(heard).toEqual([1, 2]));
  expect(reported).toHaveBeenCalledExactlyOnceWith(new Error('no canvas'));
});

test('what is there can be taken at once', () => {
  const { writer, records, reader } = ring(256);
  writer.write(3, new Uint8Array(3));
  reader.drain();
  expect(records.map(({ tag }) => tag)).toEqual([3]);
});

test('memory is shared only where the page is isolated and can wait for it', () => {
  expect(canShare()).toBe(false);
  vi.stubGlobal('crossOriginIsolated', true);
  expect(canShare()).toBe(true);
  vi.stubGlobal('Atomics', { wait: () => 'ok' });
  expect(canShare()).toBe(false);
  vi.unstubAllGlobals();
  vi.stubGlobal('crossOriginIsolated', true);
  vi.stubGlobal('SharedArrayBuffer', undefined);
  expect(canShare()).toBe(false);
});

interface Record {
  tag: number;
  bytes: Uint8Array;
  at: number;
}

function reading(memory: SharedArrayBuffer) {
  const records: Record[] = [];
  const reader = new RingReader(memory, (tag, bytes, at) => records.push({ tag, bytes: new Uint8Array(bytes), at }));
  readers.push(reader);
  return { records, reader };
}

function ring(capacity: number) {
  const memory = ringMemory(capacity);
  return { writer: new RingWriter(memory), ...reading(memory) };
}

/** Until everything that was under way is done. */
const rest = () => new Promise((resolve) => setTimeout(resolve, 50));
