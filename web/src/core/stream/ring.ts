// A queue of records in memory that a worker and the page share: the worker writes, the page reads, and each sleeps until the
// other notifies it. Neither blocks: what has no room waits with the writer.
//
// The page is woken by the promise of `Atomics.waitAsync`, not by an event. Chromium holds all events back, messages of
// WebSockets and of workers among them, from a key or a click until the next frame is drawn; promises it does not.

/** What both sides know of a ring. */
export type RingMemory = SharedArrayBuffer;

/** Places of counters in the ring's first words: bytes ever written, bytes ever read, both modulo 2^32; and one that stays 0. */
const WRITTEN = 0;
const READ = 1;
const TURN = 2;
/** Bytes before the queue. */
const COUNTERS = 64;
/** A record's tag (u32), its length in bytes (u32), when it was written (f64); then its bytes. */
const HEADER = 16;

/** Whether this page, or worker, can wait for memory that it shares. */
export function canShare(): boolean {
  return globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === 'function' && typeof Atomics.waitAsync === 'function';
}

/** `capacity`: bytes, a power of two. Longer records pass in parts. */
export function ringMemory(capacity: number): RingMemory {
  return new SharedArrayBuffer(COUNTERS + capacity);
}

/** Milliseconds since the epoch, by the clock that page and workers have in common. */
export const sharedNow = () => performance.timeOrigin + performance.now();

/** The bytes of the queue, and where the two sides are. */
class Ring {
  readonly counters: Int32Array<SharedArrayBuffer>;
  readonly #bytes: Uint8Array<SharedArrayBuffer>;

  constructor(memory: RingMemory) {
    this.counters = new Int32Array(memory, 0, COUNTERS / 4);
    this.#bytes = new Uint8Array(memory, COUNTERS);
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  /** Copies from `source` to the place `at`, a count of bytes. */
  put(at: number, source: Uint8Array): void {
    const from = (at >>> 0) % this.capacity;
    const first = Math.min(source.length, this.capacity - from);
    this.#bytes.set(source.subarray(0, first), from);
    this.#bytes.set(source.subarray(first), 0);
  }

  /** Fills `target` from the place `at`, a count of bytes. */
  take(at: number, target: Uint8Array): void {
    const from = (at >>> 0) % this.capacity;
    const first = Math.min(target.length, this.capacity - from);
    target.set(this.#bytes.subarray(from, from + first));
    target.set(this.#bytes.subarray(0, target.length - first), first);
  }
}

export class RingWriter {
  readonly #ring: Ring;
  /** What is not in the ring yet, in order; its first may be in part. */
  #queue: Uint8Array[] = [];
  #full = false;

  constructor(memory: RingMemory) {
    this.#ring = new Ring(memory);
  }

  /** `tag`: what the reader is told, 32 bits. `bytes` belong to the ring from now on. */
  write(tag: number, bytes: Uint8Array): void {
    const header = new Uint8Array(HEADER);
    const view = new DataView(header.buffer);
    view.setUint32(0, tag);
    view.setUint32(4, bytes.length);
    view.setFloat64(8, sharedNow());
    this.#queue.push(header, bytes);
    if (!this.#full) this.#pump();
  }

  #pump(): void {
    const { counters, capacity } = this.#ring;
    for (;;) {
      const read = Atomics.load(counters, READ);
      let written = Atomics.load(counters, WRITTEN);
      let room = capacity - ((written - read) >>> 0);
      let next = this.#queue[0];
      while (next && room > 0) {
        const part = next.subarray(0, room);
        this.#ring.put(written, part);
        written = (written + part.length) | 0;
        room -= part.length;
        if (part.length < next.length) this.#queue[0] = next.subarray(part.length);
        else this.#queue.shift();
        next = this.#queue[0];
      }
      Atomics.store(counters, WRITTEN, written);
      Atomics.notify(counters, WRITTEN);
      if (!next) return;
      const waiting = Atomics.waitAsync(counters, READ, read);
      if (!waiting.async) continue;
      this.#full = true;
      void waiting.value.then(() => {
        this.#full = false;
        this.#pump();
      });
      return;
    }
  }
}

/** `bytes` are the receiver's own. `at`: `sharedNow` when it was written. */
export type RecordListener = (tag: number, bytes: ArrayBuffer, at: number) => void;

export class RingReader {
  readonly #ring: Ring;
  readonly #listener: RecordListener;
  readonly #header = new Uint8Array(HEADER);
  /** The record whose header was read. */
  #record: { tag: number; at: number; bytes: Uint8Array<ArrayBuffer> } | null = null;
  /** Bytes that are there of what is read, the header or the record. */
  #filled = 0;
  #stopped = false;

  /** `listener` is never called from inside this call. */
  constructor(memory: RingMemory, listener: RecordListener) {
    this.#ring = new Ring(memory);
    this.#listener = listener;
    void this.#follow();
  }

  /** Nothing is told from now on. */
  stop(): void {
    this.#stopped = true;
    // Else who waits here would be kept, and the memory with it.
    Atomics.notify(this.#ring.counters, WRITTEN);
  }

  /** Tells of what is there now. Gives the counter of what was written until then. */
  drain(): number {
    const { counters } = this.#ring;
    const written = Atomics.load(counters, WRITTEN);
    let read = Atomics.load(counters, READ);
    while (!this.#stopped) {
      const target = this.#record?.bytes ?? this.#header;
      const rest = target.subarray(this.#filled, this.#filled + ((written - read) >>> 0));
      this.#ring.take(read, rest);
      read = (read + rest.length) | 0;
      this.#filled += rest.length;
      // Before it is looked at: the writer goes on meanwhile.
      Atomics.store(counters, READ, read);
      Atomics.notify(counters, READ);
      if (this.#filled < target.length) break;
      this.#filled = 0;
      this.#complete();
    }
    return written;
  }

  #complete(): void {
    if (!this.#record) {
      const view = new DataView(this.#header.buffer);
      this.#record = { tag: view.getUint32(0), at: view.getFloat64(8), bytes: new Uint8Array(view.getUint32(4)) };
      return;
    }
    const { tag, at, bytes } = this.#record;
    this.#record = null;
    try {
      this.#listener(tag, bytes.buffer, at);
    } catch (error) {
      // As of any listener: the next record comes all the same.
      reportError(error);
    }
  }

  async #follow(): Promise<void> {
    const { counters } = this.#ring;
    // Not from inside whatever made it.
    await null;
    while (!this.#stopped) {
      const written = this.drain();
      if (this.#stopped) return;
      const more = Atomics.waitAsync(counters, WRITTEN, written);
      // Where more comes than can be drawn, input and frames have their turn all the same.
      await (more.async ? more.value : nextTask(counters));
    }
  }
}

/** A wait that is over in a task of its own, one of those that are not held back. */
function nextTask(counters: Int32Array<SharedArrayBuffer>): Promise<unknown> {
  const waiting = Atomics.waitAsync(counters, TURN, 0);
  Atomics.notify(counters, TURN);
  return Promise.resolve(waiting.value);
}
