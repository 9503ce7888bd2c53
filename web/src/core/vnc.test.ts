// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { VncTransport } from './vnc';

const { requests, rfbs } = vi.hoisted(() => ({ requests: [] as unknown[][], rfbs: [] as { say(event: string): void; disconnected: boolean }[] }));

vi.mock('@novnc/novnc', () => ({
  default: class {
    static readonly messages = { fbUpdateRequest: (...args: unknown[]) => requests.push(args.slice(1)) };
    readonly _cursor = { _hotSpot: { x: 0, y: 0 }, move: () => undefined };
    readonly _sock = {};
    disconnected = false;
    readonly #listeners = new Map<string, () => void>();

    constructor() {
      rfbs.push(this);
    }

    addEventListener(type: string, listener: () => void): void {
      this.#listeners.set(type, listener);
    }

    say(type: string): void {
      this.#listeners.get(type)?.();
    }

    disconnect(): void {
      this.disconnected = true;
    }
  },
}));

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('WebSocket', FakeSocket);
  requests.length = rfbs.length = 0;
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test('asks for one pixel, and any byte is an answer', () => {
  const { transport, socket, losses } = setup();
  transport.ping();
  expect(requests).toEqual([[false, 0, 0, 1, 1]]);
  socket.say('message', { data: new ArrayBuffer(4) });
  vi.advanceTimersByTime(60_000);
  expect(losses).toEqual([]);
});

test('without an answer it is lost, and says so once', () => {
  const { transport, losses } = setup();
  transport.ping();
  vi.advanceTimersByTime(8_000);
  expect(losses).toEqual(['lost']);
  transport.disconnect();
  expect(rfbs[0]?.disconnected).toBe(true);
  rfbs[0]?.say('disconnect');
  expect(losses).toEqual(['lost']);
});

class FakeSocket {
  static readonly OPEN = 1;
  readyState = 1;
  binaryType = '';
  readonly #listeners = new Map<string, (event: object) => void>();

  constructor() {
    sockets.push(this);
  }

  addEventListener(type: string, listener: (event: object) => void): void {
    this.#listeners.set(type, listener);
  }

  say(type: string, event: object): void {
    this.#listeners.get(type)?.(event);
  }

  close(): void {}
}

const sockets: FakeSocket[] = [];

function setup() {
  const transport = new VncTransport(document.createElement('div'), 'ws://session');
  const losses: string[] = [];
  transport.connect((event, data) => {
    if (event === 'closed') losses.push((data as { loss: string }).loss);
  });
  const socket = sockets.at(-1);
  if (!socket) throw new Error('no WebSocket was made');
  return { transport, socket, losses };
}
