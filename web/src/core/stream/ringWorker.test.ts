import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { ringMemory, RingReader } from './ring';
import { RECORD, type ToRingWorker } from './ringRecords';
import { FakeSocket } from './testing/fakeSocket';

let post: (message: ToRingWorker) => void;
let reader: RingReader;
const close = vi.fn();
let records: { tag: number; bytes: number[] }[];

beforeEach(async () => {
  FakeSocket.last = null;
  vi.stubGlobal('WebSocket', FakeSocket);
  vi.stubGlobal('self', {
    addEventListener: (_: string, listener: (event: { data: ToRingWorker }) => void) => (post = (data) => listener({ data })),
    close,
  });
  vi.resetModules();
  await import('./ringWorker');
  const memory = ringMemory(64);
  records = [];
  reader = new RingReader(memory, (tag, bytes) => records.push({ tag, bytes: [...new Uint8Array(bytes)] }));
  post({ url: 'ws://agent', memory });
});
afterEach(() => {
  reader.stop();
  close.mockReset();
  vi.unstubAllGlobals();
});

test('it says that it runs, and then everything of the WebSocket in its order, to its end', async () => {
  const socket = FakeSocket.last!;
  socket.open();
  const long = Array.from({ length: 500 }, (_, at) => at % 256);
  socket.receive(Uint8Array.from(long).buffer);
  socket.receive('text');
  socket.emit('close', { code: 4000 });
  await vi.waitFor(() => expect(records.at(-1)?.tag).toBe(4000));
  expect(records).toEqual([
    { tag: RECORD.started, bytes: [] },
    { tag: RECORD.opened, bytes: [] },
    { tag: RECORD.message, bytes: long },
    { tag: RECORD.text, bytes: [] },
    { tag: 4000, bytes: [] },
  ]);
  // The page may not have read it all.
  expect(close).not.toHaveBeenCalled();
});

test('what the page posts is sent, once the WebSocket is open', () => {
  const socket = FakeSocket.last!;
  post(Uint8Array.of(1));
  socket.open();
  post(Uint8Array.of(2, 3));
  expect(socket.sent).toEqual([Uint8Array.of(2, 3)]);
});

test('closed by the page, it ends with the WebSocket, though nobody reads', () => {
  const socket = FakeSocket.last!;
  socket.open();
  reader.stop();
  socket.receive(new ArrayBuffer(500));
  post({ close: 1000 });
  expect(socket.closedWith).toBe(1000);
  expect(close).not.toHaveBeenCalled();
  socket.emit('close', { code: 1000 });
  expect(close).toHaveBeenCalledTimes(1);
});
