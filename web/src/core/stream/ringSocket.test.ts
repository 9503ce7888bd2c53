import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { RingWriter } from './ring';
import { RECORD, type ToRingWorker } from './ringRecords';
import type { openSocket } from './ringSocket';
import { FakeSocket } from './testing/fakeSocket';

const NOTHING = new Uint8Array();

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  vi.stubGlobal('crossOriginIsolated', true);
  vi.stubGlobal('WebSocket', FakeSocket);
  vi.stubGlobal('Worker', FakeWorker);
  FakeSocket.last = null;
  FakeWorker.last = null;
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.resetModules();
});

test('a worker has the WebSocket: what it writes is heard in its order, what is sent goes there', async () => {
  const { socket, worker, ring, heard } = await opened();
  expect(FakeSocket.last).toBe(null);
  expect(worker.posted[0]).toMatchObject({ url: 'ws://agent' });
  const before = performance.timeOrigin + performance.now();
  ring.write(RECORD.message, Uint8Array.of(1, 2));
  ring.write(RECORD.text, NOTHING);
  ring.write(4001, NOTHING);
  await vi.waitFor(() => expect(heard.map(({ what }) => what)).toEqual(['opened', [1, 2], null, 4001]));
  expect(heard[1]?.arrived).toBeGreaterThanOrEqual(before);
  expect(worker.terminated).toBe(true);
  socket.send(Uint8Array.of(3));
  socket.close(1000);
  expect(worker.posted).toHaveLength(1);
});

test('what is sent is handed over, not copied', async () => {
  const { socket, worker } = await opened();
  const message = Uint8Array.of(5, 6);
  socket.send(message);
  expect(worker.posted[1]).toEqual(Uint8Array.of(5, 6));
  expect(message.buffer.byteLength).toBe(0);
});

test('closed by the page: the worker says goodbye by itself, and nothing is heard any more', async () => {
  const { socket, worker, ring, heard } = await opened();
  socket.close(4400);
  socket.close(1000);
  expect(worker.posted.slice(1)).toEqual([{ close: 4400 }]);
  expect(worker.terminated).toBe(false);
  ring.write(RECORD.message, Uint8Array.of(1));
  await turns();
  expect(heard.map(({ what }) => what)).toEqual(['opened']);
  expect(vi.getTimerCount()).toBe(0);
});

test('closed before the worker has started: it never does', async () => {
  const { socket, worker } = await created();
  socket.close(1000);
  expect(worker.terminated).toBe(true);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(FakeSocket.last).toBe(null);
});

test.each<[string, boolean, (worker: FakeWorker) => Promise<unknown> | void]>([
  ['cannot be loaded: the page has the WebSocket, and from then on at once', false, (worker) => worker.emit('error')],
  ['does not start: the page has the WebSocket this time', true, () => vi.advanceTimersByTimeAsync(1_000)],
])('a worker that %s', async (_, again, fail) => {
  const info = vi.spyOn(console, 'info').mockReturnValue(undefined);
  const { socket, worker, heard, open } = await created();
  socket.send(Uint8Array.of(1));
  await fail(worker);
  expect(worker.terminated).toBe(true);
  const plain = FakeSocket.last!;
  expect(info).toHaveBeenCalledTimes(again ? 0 : 1);
  plain.open();
  plain.receive(Uint8Array.of(7).buffer);
  socket.send(Uint8Array.of(2));
  expect(plain.sent).toEqual([Uint8Array.of(2)]);
  socket.close(4400);
  expect(plain.closedWith).toBe(4400);
  plain.emit('close', { code: 4400 });
  expect(heard.map(({ what }) => what)).toEqual(['opened', [7], 4400]);
  expect(vi.getTimerCount()).toBe(0);

  FakeWorker.last = null;
  open();
  expect(FakeWorker.last !== null).toBe(again);
  expect(FakeSocket.last !== plain).toBe(!again);
});

test('a page that was late itself does not take the worker for late', async () => {
  const { worker, heard } = await created();
  worker.ring.write(RECORD.started, NOTHING);
  worker.ring.write(RECORD.opened, NOTHING);
  // Before the page is woken.
  vi.advanceTimersByTime(1_000);
  expect(worker.terminated).toBe(false);
  expect(FakeSocket.last).toBe(null);
  expect(heard.map(({ what }) => what)).toEqual(['opened']);
});

test('a worker that breaks later on is a lost connection', async () => {
  const { worker, heard } = await opened();
  worker.emit('error');
  worker.emit('error');
  expect(worker.terminated).toBe(true);
  expect(heard.at(-1)?.what).toBe(1006);
  expect(heard).toHaveLength(2);
});

test.each<[string, () => void]>([
  ['is not isolated', () => vi.stubGlobal('crossOriginIsolated', false)],
  ['knows no isolation', () => vi.stubGlobal('crossOriginIsolated', undefined)],
  ['cannot wait for memory', () => vi.stubGlobal('Atomics', {})],
])('a page that %s has the WebSocket itself', async (_, lack) => {
  lack();
  const { heard } = await created();
  expect(FakeWorker.last).toBe(null);
  FakeSocket.last!.open();
  FakeSocket.last!.receive('text');
  expect(heard.map(({ what }) => what)).toEqual(['opened', null]);
});

test('a page that may have no worker has the WebSocket itself', async () => {
  vi.spyOn(console, 'info').mockReturnValue(undefined);
  vi.stubGlobal('Worker', class {
    constructor() {
      throw new DOMException('a policy forbids it', 'SecurityError');
    }
  });
  await created();
  expect(FakeSocket.last).not.toBe(null);
  expect(vi.getTimerCount()).toBe(0);
});

/** The worker's side is the test's. */
class FakeWorker {
  static last: FakeWorker | null = null;
  readonly posted: ToRingWorker[] = [];
  terminated = false;
  #onError: () => void = () => undefined;
  #ring: RingWriter | null = null;

  constructor() {
    FakeWorker.last = this;
  }

  get ring(): RingWriter {
    if (!this.#ring) throw new Error('it was given no ring');
    return this.#ring;
  }

  postMessage(message: ToRingWorker, transfer: Transferable[]): void {
    this.posted.push(structuredClone(message, { transfer: transfer as ArrayBuffer[] }));
    if ('memory' in message) this.#ring = new RingWriter(message.memory);
  }

  addEventListener(_: 'error', listener: () => void): void {
    this.#onError = listener;
  }

  emit(_: 'error'): void {
    this.#onError();
  }

  terminate(): void {
    this.terminated = true;
  }
}

async function created() {
  // What it learnt of workers is forgotten.
  const ringSocket = await import('./ringSocket');
  const heard: { what: unknown; arrived?: number }[] = [];
  const open = (): ReturnType<typeof openSocket> =>
    ringSocket.openSocket('ws://agent', {
      opened: () => heard.push({ what: 'opened' }),
      message: (data, arrived) => heard.push({ what: data && [...new Uint8Array(data)], arrived }),
      closed: (code) => heard.push({ what: code }),
    });
  const socket = open();
  return { socket, worker: FakeWorker.last as FakeWorker, heard, open };
}

async function opened() {
  const made = await created();
  const { ring } = made.worker;
  ring.write(RECORD.started, NOTHING);
  ring.write(RECORD.opened, NOTHING);
  await vi.waitFor(() => expect(made.heard).toHaveLength(1));
  return { ...made, ring };
}

/** Until everything that was under way is done. */
const turns = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
