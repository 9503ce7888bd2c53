// A transport that does what a test says. For tests only.

import { type Loss, NO_FIGURES, type Transport, type TransportEvents, type TransportKind, type TransportListener } from '../transport';

export class FakeTransport implements Transport {
  readonly kind: TransportKind;
  readonly layer: HTMLElement | null;
  disconnected = false;
  received = 0;
  pings = 0;
  keys: number[] = [];
  focused = 0;
  focusOnClick: boolean | null = null;
  watched: boolean | null = null;
  #listener: TransportListener = () => undefined;

  constructor(kind: TransportKind = 'vnc', layer: HTMLElement | null = null) {
    this.kind = kind;
    this.layer = layer;
  }

  connect(listener: TransportListener): void {
    this.#listener = listener;
  }

  emit<K extends keyof TransportEvents>(event: K, data: TransportEvents[K]): void {
    this.#listener(event, data);
  }

  open(): void {
    this.emit('open', undefined);
  }

  lose(loss: Loss = 'lost'): void {
    this.emit('closed', { loss });
  }

  disconnect(): void {
    this.disconnected = true;
  }

  sendKey(keysym: number): void {
    this.keys.push(keysym);
  }

  releaseKeys(): void {}
  sendClipboard(): void {}

  focus(): void {
    this.focused++;
  }

  setFocusOnClick(on: boolean): void {
    this.focusOnClick = on;
  }

  ping(): void {
    this.pings++;
  }

  copyPicture(): boolean {
    return true;
  }

  watch(watched: boolean): void {
    this.watched = watched;
  }

  prove() {
    return Promise.resolve('unable' as const);
  }

  stats() {
    return { kind: this.kind, received: this.received, ...NO_FIGURES };
  }
}
