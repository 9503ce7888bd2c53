// A WebSocket whose other side is the test's.

export class FakeSocket {
  static readonly OPEN = 1;
  static last: FakeSocket | null = null;
  binaryType = '';
  readyState = 0;
  closedWith: number | null | undefined = null;
  readonly sent: Uint8Array[] = [];
  readonly #listeners = new Map<string, (event: object) => void>();

  constructor() {
    FakeSocket.last = this;
  }

  addEventListener(type: string, listener: (event: object) => void): void {
    this.#listeners.set(type, listener);
  }

  emit(type: string, event: object): void {
    this.#listeners.get(type)?.(event);
  }

  open(): void {
    this.readyState = 1;
    this.emit('open', {});
  }

  receive(data: ArrayBuffer | string): void {
    this.emit('message', { data });
  }

  send(data: Uint8Array): void {
    this.sent.push(data);
  }

  close(code?: number): void {
    this.closedWith = code;
  }
}
