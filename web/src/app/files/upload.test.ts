import { expect, test, vi } from 'vitest';

import type { Entry } from '../../api';
import { ApiError } from '../../api/error';
import { anotherName, isSameFile, Upload, type UploadCalls } from './upload';

const file = (size: number, name = 'a.xcf') => new File([bytesOf(size)], name, { lastModified: 1 });

test('sends a file in chunks and ends with its entry', async () => {
  const server = new FakeServer();
  const upload = new Upload(file(2500), 'Art/a.xcf', server, () => undefined);
  await upload.run();
  expect(upload.state).toEqual({ kind: 'done', entry: expect.objectContaining({ path: 'Art/a.xcf', size: 2500 }) });
  expect(server.chunks).toEqual([[0, 1000], [1000, 1000], [2000, 500]]);
  expect(await server.stored()).toEqual(bytesOf(2500));
});

test('an empty file is one empty chunk', async () => {
  const server = new FakeServer();
  const upload = new Upload(file(0), 'empty.txt', server, () => undefined);
  await upload.run();
  expect(upload.state.kind).toBe('done');
});

test('after a lost network it asks how much arrived and goes on from there', async () => {
  const server = new FakeServer();
  // The chunk arrives, its answer does not.
  server.before = (count) => {
    if (count === 2) return { takeThenFail: ApiError.network() };
    if (count === 3) return { fail: ApiError.network() };
    return null;
  };
  const upload = new Upload(file(3500), 'a.xcf', server, () => undefined);
  await upload.run();
  expect(upload.state.kind).toBe('done');
  expect(server.created).toBe(1);
  expect(await server.stored()).toEqual(bytesOf(3500));
  expect(server.waits.length).toBe(2);
});

test('goes on after a reload, with what the server has', async () => {
  const server = new FakeServer();
  server.before = (count) => (count === 3 ? { fail: new ApiError(400, { code: 'test' }) } : null);
  const first = new Upload(file(4200), 'a.xcf', server, () => undefined);
  await first.run();
  expect(first.state.kind).toBe('failed');

  const second = new Upload(file(4200), 'a.xcf', server, () => undefined, first.id);
  await second.run();
  expect(second.state.kind).toBe('done');
  expect(server.created).toBe(1);
  expect(await server.stored()).toEqual(bytesOf(4200));
});

test('begins anew when the server has forgotten the upload', async () => {
  const server = new FakeServer();
  const upload = new Upload(file(1500), 'a.xcf', server, () => undefined, 'long-gone');
  await upload.run();
  expect(upload.state.kind).toBe('done');
  expect(server.created).toBe(1);
});

test('pausing stops in the middle, running again goes on', async () => {
  const server = new FakeServer();
  const upload = new Upload(file(5000), 'a.xcf', server, () => undefined);
  server.before = (count) => {
    if (count === 3) upload.pause();
    return null;
  };
  await upload.run();
  expect(upload.state.kind).toBe('paused');
  await upload.run();
  expect(upload.state.kind).toBe('done');
  expect(await server.stored()).toEqual(bytesOf(5000));
});

test('asks before it replaces a file', async () => {
  const server = new FakeServer();
  server.taken.add('a.xcf');
  const replacing = new Upload(file(10), 'a.xcf', server, () => undefined);
  await replacing.run();
  expect(replacing.state.kind).toBe('exists');
  replacing.decide({ replace: true });
  await replacing.run();
  expect(replacing.state.kind).toBe('done');
  expect(server.overwritten).toBe(true);

  const beside = new Upload(file(10), 'a.xcf', server, () => undefined);
  await beside.run();
  beside.decide({ path: 'a (2).xcf' });
  await beside.run();
  expect(beside.state).toEqual({ kind: 'done', entry: expect.objectContaining({ path: 'a (2).xcf' }) });
});

test('a name taken while it was sent: what was sent gives its room back', async () => {
  const server = new FakeServer();
  server.before = (count) => (count === 1 ? { fail: new ApiError(409, { code: 'files.exists' }) } : null);
  const upload = new Upload(file(10), 'a.xcf', server, () => undefined);
  await upload.run();
  expect(upload.state.kind).toBe('exists');
  const first = upload.id;
  upload.decide({ path: 'a (2).xcf' });
  expect(server.cancelled).toEqual([first]);
  await upload.run();
  expect(upload.state.kind).toBe('done');
});

test('the room of what was sent under a taken name is free before the next attempt asks for it', async () => {
  const server = new FakeServer();
  server.before = (count) => (count === 1 ? { fail: new ApiError(409, { code: 'files.exists' }) } : null);
  let free = () => {};
  server.cancel = () => new Promise((resolve) => (free = resolve));
  const upload = new Upload(file(10), 'a.xcf', server, () => undefined);
  await upload.run();
  upload.decide({ replace: true });
  const sent = upload.run();
  await new Promise((resolve) => setTimeout(resolve));
  expect(server.created).toBe(1);
  free();
  await sent;
  expect(upload.state.kind).toBe('done');
  expect(server.created).toBe(2);
});

test('a full workspace is not tried again', async () => {
  const server = new FakeServer();
  const full = new ApiError(507, { code: 'workspace.full', detail: 'Your storage is full.' });
  server.before = () => ({ fail: full });
  const upload = new Upload(file(10), 'a.xcf', server, () => undefined);
  await upload.run();
  expect(upload.state).toEqual({ kind: 'failed', error: full });
  expect(server.waits).toEqual([]);
});

test('gives up at last, and says why', async () => {
  const server = new FakeServer();
  server.before = () => ({ fail: ApiError.network() });
  const upload = new Upload(file(10), 'a.xcf', server, () => undefined);
  await upload.run();
  expect(upload.state.kind).toBe('failed');
  expect(server.waits.length).toBe(24);
  expect(Math.max(...server.waits)).toBeLessThanOrEqual(15_000);
});

test('cancelling tells the server', async () => {
  const server = new FakeServer();
  const upload = new Upload(file(5000), 'a.xcf', server, () => undefined);
  server.before = (count) => {
    if (count === 2) upload.cancel();
    return null;
  };
  await upload.run();
  expect(upload.state.kind).toBe('cancelled');
  await vi.waitFor(() => expect(server.cancelled).toEqual([upload.id]));
});

test('the same file is known by name, size and time', () => {
  const unfinished = { id: '1', path: 'Art/a.xcf', name: 'a.xcf', size: 10, lastModified: 1 };
  expect(isSameFile(unfinished, file(10))).toBe(true);
  expect(isSameFile(unfinished, file(11))).toBe(false);
  expect(isSameFile(unfinished, file(10, 'b.xcf'))).toBe(false);
});

test('numbers names that are taken', () => {
  expect(anotherName('a.xcf')).toBe('a (2).xcf');
  expect(anotherName('a (2).xcf')).toBe('a (3).xcf');
  expect(anotherName('.hidden')).toBe('.hidden (2)');
  expect(anotherName('no extension')).toBe('no extension (2)');
});

function bytesOf(size: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, index) => (index * 31) % 251);
}

/** Keeps the contract of the REST API in memory. `before` is asked before each chunk. */
class FakeServer implements UploadCalls {
  before: (count: number) => { fail: ApiError } | { takeThenFail: ApiError } | null = () => null;
  chunks: [number, number][] = [];
  waits: number[] = [];
  cancelled: string[] = [];
  taken = new Set<string>();
  created = 0;
  overwritten = false;
  #parts: Blob[] = [];
  #offset = 0;
  #size = 0;
  #path = '';
  #id = '';
  #count = 0;

  async create(path: string, size: number, overwrite: boolean) {
    if (this.taken.has(path) && !overwrite) throw new ApiError(409, { code: 'files.exists' });
    this.overwritten = overwrite;
    this.created++;
    this.#id = `upload-${this.created}`;
    this.#parts = [];
    this.#offset = 0;
    this.#size = size;
    this.#path = path;
    return { id: this.#id, chunkSize: 1000 };
  }

  async offset(id: string) {
    return id === this.#id ? this.#offset : null;
  }

  async send(_id: string, offset: number, chunk: Blob, onProgress: (sent: number) => void, signal: AbortSignal) {
    const what = this.before(++this.#count);
    signal.throwIfAborted();
    if (what && 'fail' in what) throw what.fail;
    if (offset !== this.#offset) throw new ApiError(409, { code: 'upload.offset' });
    onProgress(chunk.size);
    this.chunks.push([offset, chunk.size]);
    this.#parts.push(chunk);
    this.#offset += chunk.size;
    if (what) throw what.takeThenFail;
    const entry = this.#offset === this.#size ? ({ path: this.#path, size: this.#size } as Entry) : null;
    return { offset: this.#offset, entry };
  }

  async cancel(id: string) {
    this.cancelled.push(id);
  }

  async wait(milliseconds: number) {
    this.waits.push(milliseconds);
  }

  async stored() {
    return new Uint8Array(await new Blob(this.#parts).arrayBuffer());
  }
}
