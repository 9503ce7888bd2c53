// The stream's WebSocket in a worker of ours, where the page can share memory with one and wait for it; in the page elsewhere.

import { canShare, ringMemory, RingReader } from './ring';
import { RECORD, type ToRingWorker } from './ringRecords';
import { PlainSocket, type SocketListener, type StreamSocket } from './socket';

/** Bytes: a screen's worth, as it is mostly sent. Memory that nothing was written to costs nothing. */
const CAPACITY = 1 << 22;
/** Milliseconds that a worker has to start. */
const PATIENCE = 1_000;
/** What browsers say of a connection that broke off. */
const BROKEN_OFF = 1006;

/** Whether workers start here, as far as is known: what failed is not waited for again in this page. */
let starts = true;

export function openSocket(url: string, listener: SocketListener): StreamSocket {
  if (starts && canShare()) {
    try {
      return new RingSocket(url, listener);
    } catch (error) {
      // No memory, or no worker.
      doWithout(error);
    }
  }
  return new PlainSocket(url, listener);
}

function doWithout(reason: unknown): void {
  starts = false;
  console.info('The stream goes without a worker:', reason);
}

class RingSocket implements StreamSocket {
  readonly #url: string;
  readonly #listener: SocketListener;
  readonly #worker: Worker;
  readonly #ring: RingReader;
  readonly #startTimer: ReturnType<typeof setTimeout>;
  #state: 'starting' | 'started' | 'ended' = 'starting';
  /** In place of the worker that did not start. */
  #plain: PlainSocket | null = null;

  constructor(url: string, listener: SocketListener) {
    this.#url = url;
    this.#listener = listener;
    const memory = ringMemory(CAPACITY);
    this.#worker = new Worker(new URL('./ringWorker.ts', import.meta.url), { type: 'module' });
    this.#worker.addEventListener('error', () => this.#failed());
    this.#ring = new RingReader(memory, (tag, bytes, at) => this.#take(tag, bytes, at));
    this.#startTimer = setTimeout(() => this.#late(), PATIENCE);
    this.#post({ url, memory });
  }

  send(message: Uint8Array<ArrayBuffer>): void {
    if (this.#plain) this.#plain.send(message);
    else if (this.#state === 'started') this.#post(message, [message.buffer]);
  }

  close(code?: number): void {
    this.#plain?.close(code);
    if (this.#state === 'ended') return;
    // One that has a WebSocket ends when that has said goodbye.
    if (this.#state === 'started') this.#post({ close: code });
    else this.#worker.terminate();
    this.#end();
  }

  #post(message: ToRingWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #take(tag: number, bytes: ArrayBuffer, at: number): void {
    switch (tag) {
      case RECORD.started:
        clearTimeout(this.#startTimer);
        this.#state = 'started';
        break;
      case RECORD.opened:
        this.#listener.opened();
        break;
      case RECORD.message:
        this.#listener.message(bytes, at);
        break;
      case RECORD.text:
        this.#listener.message(null, at);
        break;
      default:
        this.#worker.terminate();
        this.#end();
        this.#listener.closed(tag);
    }
  }

  #late(): void {
    // Maybe it was the page that was late.
    this.#ring.drain();
    // On a slow line it may come in time for the next connection.
    if (this.#state === 'starting') this.#goPlain();
  }

  #failed(): void {
    if (this.#state === 'ended') return;
    if (this.#state === 'started') {
      this.#worker.terminate();
      this.#end();
      this.#listener.closed(BROKEN_OFF);
      return;
    }
    doWithout('it does not start');
    this.#goPlain();
  }

  #goPlain(): void {
    this.#worker.terminate();
    this.#end();
    this.#plain = new PlainSocket(this.#url, this.#listener);
  }

  #end(): void {
    this.#state = 'ended';
    clearTimeout(this.#startTimer);
    this.#ring.stop();
  }
}
