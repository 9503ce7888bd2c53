// The picture stream's WebSocket as its engine wants it, and the plain one.

import { sharedNow } from './ring';

export interface SocketListener {
  opened(): void;
  /** `data`: null for text, which nobody sends. `arrived`: when it was there, of `sharedNow`. */
  message(data: ArrayBuffer | null, arrived: number): void;
  /** Last of all, with the WebSocket's close code. */
  closed(code: number): void;
}

export interface StreamSocket {
  /** What is sent while it is not open is lost. `message` belongs to the socket from now on, with the buffer that it is in. */
  send(message: Uint8Array<ArrayBuffer>): void;
  /** As that of a WebSocket. Whether `closed` follows is left open. */
  close(code?: number): void;
}

export class PlainSocket implements StreamSocket {
  readonly #socket: WebSocket;

  constructor(url: string, listener: SocketListener) {
    const socket = new WebSocket(url, ['binary']);
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('open', () => listener.opened());
    socket.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
      listener.message(data instanceof ArrayBuffer ? data : null, sharedNow());
    });
    socket.addEventListener('close', ({ code }) => listener.closed(code));
    this.#socket = socket;
  }

  send(message: Uint8Array<ArrayBuffer>): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(message);
  }

  close(code?: number): void {
    this.#socket.close(code);
  }
}
