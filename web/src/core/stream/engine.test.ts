import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { type EngineEvent, StreamEngine } from './engine';
import type { UnitSource } from './rtp';
import { helloBytes, pongBytes, proofBytes, type SentOp, statsBytes, updateBytes } from './testing/agentMessages';
import { FakeSocket } from './testing/fakeSocket';

const SIZE: SentOp = { op: 'size', width: 8, height: 4 };
const FILL: SentOp = { op: 'fill', rect: { x: 0, y: 0, width: 8, height: 4 }, rgb: [1, 2, 3] };
const view = { hidden: false, refresh: 75 };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  FakeAgent.last = null;
  vi.stubGlobal('WebSocket', FakeAgent);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

test('greets with what this browser can do', async () => {
  const { socket } = await connected();
  expect(socket.messages('hello')).toEqual([{ version: 2, video: [], cachePixels: 1_000, refresh: 75, tiles: 1 }]);
});

test('is open with the first picture, and tells who looks from then on', async () => {
  const { socket, engine, kinds } = await connected();
  engine.take({ command: 'view', view: { hidden: true, refresh: 144 } });
  expect(socket.messages('view')).toEqual([]);
  socket.receive(helloBytes());
  socket.receive(updateBytes(1, [SIZE, FILL], { exact: true }));
  expect(kinds()).toEqual(['hello', 'size', 'open', 'exact']);
  expect(socket.messages('view')).toEqual([{ hidden: true, refresh: 144 }]);
  expect(socket.messages('drawn')).toEqual([1]);
  engine.take({ command: 'view', view });
  expect(socket.messages('view')).toHaveLength(2);
});

test('what came before the decoders were ready is drawn in its order', async () => {
  const { engine, kinds } = created();
  const socket = started(engine);
  socket.open();
  socket.receive(updateBytes(1, [SIZE]));
  socket.receive(updateBytes(2, [FILL], { exact: true }));
  expect(kinds()).toEqual([]);
  await vi.waitFor(() => expect(kinds()).toEqual(['size', 'open', 'exact']));
  expect(socket.messages('drawn')).toEqual([1, 2]);
});

test('input is numbered, and the first picture that can show it ends its latency', async () => {
  const { socket, engine, events } = await opened();
  const at = performance.timeOrigin + performance.now();
  const move = { number: 1, atUs: 0, at, action: 'move', x: 1, y: 2 } as const;
  const release = { number: 2, atUs: 0, at, action: 'releaseAll' } as const;
  engine.take({ command: 'input', events: [move, release], unsent: [move, release] });
  expect(socket.messages('input')).toEqual([[1, 2]]);
  vi.advanceTimersByTime(12);
  socket.receive(updateBytes(2, [FILL], { input: 2 }));
  socket.receive(statsBytes(1.5, 7));
  vi.advanceTimersByTime(500);
  const figures = events.findLast((event) => event.event === 'figures');
  expect(figures).toMatchObject({ figures: { fps: 2, agent: { tilesMs: 1.5, videoMs: 7 } } });
  expect(figures?.event === 'figures' && figures.figures.inputToPixelMs?.p50).toBeCloseTo(12, 0);
});

test('input that went another way is not sent again', async () => {
  const { socket, engine } = await opened();
  engine.take({ command: 'input', events: [{ number: 1, atUs: 0, at: 0, action: 'releaseAll' }], unsent: [] });
  expect(socket.messages('input')).toEqual([]);
});

test('a connection at rest is not pinged, unless figures are looked at', async () => {
  const { socket, engine, events } = await opened();
  await vi.advanceTimersByTimeAsync(3_000);
  socket.receive(pongBytes(1));
  await vi.advanceTimersByTimeAsync(17_000);
  const before = socket.messages('ping').length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(socket.messages('ping')).toHaveLength(before);
  engine.take({ command: 'watched', watched: true });
  await vi.advanceTimersByTimeAsync(2_000);
  const [id] = socket.messages('ping').slice(-1) as number[];
  vi.advanceTimersByTime(9);
  socket.receive(pongBytes(id ?? 0));
  await vi.advanceTimersByTimeAsync(500);
  const figures = events.findLast((event) => event.event === 'figures');
  expect(figures?.event === 'figures' && figures.figures.rttMs).toBeCloseTo(9, 0);
  const told = events.length;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(events.length - told).toBe(10);
});

test('a connection that swallows what is asked is lost', async () => {
  const { socket, engine, events } = await opened();
  await vi.advanceTimersByTimeAsync(9_999);
  // Any message is an answer to the ping of the beginning.
  socket.receive(statsBytes(1, 2));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(events.at(-1)?.event).not.toBe('closed');
  const move = { number: 1, atUs: 0, at: 0, action: 'move', x: 1, y: 2 } as const;
  engine.take({ command: 'input', events: [move], unsent: [move] });
  await vi.advanceTimersByTimeAsync(9_999);
  expect(events.at(-1)?.event).not.toBe('closed');
  await vi.advanceTimersByTimeAsync(1);
  expect(events.at(-1)).toEqual({ event: 'closed', code: 1006 });
  // A browser throws when asked to close with that.
  expect(socket.closedWith).toBe(undefined);
  expect(vi.getTimerCount()).toBe(0);
});

test('video that comes by WebRTC is no sign of life of the WebSocket', async () => {
  const { engine, events } = await opened();
  let arrive: Parameters<UnitSource['listen']>[0] = () => undefined;
  engine.take({ command: 'units', source: { listen: (onUnit) => (arrive = onUnit), close: () => undefined } });
  engine.take({ command: 'ping' });
  await vi.advanceTimersByTimeAsync(7_000);
  arrive({ timestamp: 1, data: new ArrayBuffer(8) }, 0);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(events.at(-1)).toEqual({ event: 'closed', code: 1006 });
});

test.each<[string, ArrayBuffer | string]>([
  ['another version', helloBytes(1)],
  ['nonsense', Uint8Array.of(0xff).buffer],
  ['text', 'text'],
])('%s closes for good', async (_, message) => {
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  const { socket, events } = await connected();
  socket.receive(message);
  expect(socket.closedWith).toBe(4400);
  expect(events).toEqual([{ event: 'closed', code: 4400 }]);
  socket.receive(helloBytes());
  expect(events).toHaveLength(1);
});

test('a lost picture is asked for anew, but not for ever', async () => {
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  const { socket, events } = await opened();
  let seq = 1;
  for (let i = 0; i < 5; i++) {
    socket.receive(updateBytes((seq += 2), [FILL]));
    socket.receive(updateBytes(++seq, [SIZE, FILL]));
  }
  expect(socket.messages('refresh')).toHaveLength(5);
  expect(socket.closedWith).toBe(null);
  socket.receive(updateBytes(seq + 2, [FILL]));
  expect(events.at(-1)).toEqual({ event: 'closed', code: 4400 });
});

test('a decoder that fails again and again is done without, and that is told before the end', async () => {
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  const decoders: { fail(): void }[] = [];
  vi.stubGlobal('EncodedVideoChunk', class {});
  vi.stubGlobal(
    'VideoDecoder',
    class {
      static isConfigSupported = () => Promise.resolve({ supported: true });
      readonly fail: () => void;
      constructor({ error }: { error: (error: unknown) => void }) {
        this.fail = () => error(new Error('broken'));
        decoders.push(this);
      }
      configure() {}
      decode() {}
      close() {}
    },
  );
  const { socket, events } = await opened();
  expect(socket.messages('hello')).toMatchObject([{ video: ['h264', 'h264Yuv444'] }]);
  const video: SentOp = { op: 'video', rect: { x: 0, y: 0, width: 8, height: 4 } };
  let seq = 1;
  const fail = () => {
    socket.receive(updateBytes(++seq, [SIZE, video]));
    decoders.at(-1)?.fail();
  };
  // Once in a while the graphics card is reset, and that is no reason.
  for (let i = 0; i < 6; i++) {
    fail();
    await vi.advanceTimersByTimeAsync(3_000);
    socket.receive(statsBytes(1, 2));
    await vi.advanceTimersByTimeAsync(37_000);
  }
  expect(socket.messages('refresh')).toHaveLength(6);
  fail();
  fail();
  expect(events.slice(-2)).toEqual([{ event: 'noVideo' }, { event: 'closed', code: 1006 }]);
});

test('a page that was told so wants no video', async () => {
  vi.stubGlobal('VideoDecoder', class {
    static isConfigSupported = () => Promise.resolve({ supported: true });
  });
  const { engine } = created();
  const socket = started(engine, new FakeCanvas(), { video: false });
  socket.open();
  await vi.waitFor(() => expect(socket.messages('hello')).toMatchObject([{ video: [] }]));
});

test('a canvas that was taken away is asked for anew, and is not exact until it is drawn', async () => {
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  const { socket, events, canvas } = await opened();
  expect(events.at(-1)).toEqual({ event: 'exact', exact: true });
  canvas.dispatchEvent(new Event('contextrestored'));
  expect(socket.messages('refresh')).toHaveLength(1);
  expect(events.at(-1)).toEqual({ event: 'exact', exact: false });
  socket.receive(updateBytes(2, [SIZE, FILL], { exact: true }));
  expect(events.at(-1)).toEqual({ event: 'exact', exact: true });
});

test('proves what is on the canvas', async () => {
  const { socket, engine, events, canvas } = await opened();
  const proofs = () => events.flatMap((event) => (event.event === 'proof' ? [event.proof] : []));
  engine.take({ command: 'prove' });
  expect(socket.messages('prove')).toHaveLength(1);
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', canvas.pixels));
  socket.receive(proofBytes(1, 8, 4, sha256));
  await vi.waitFor(() => expect(proofs()).toEqual(['same']));
  socket.receive(proofBytes(1, 8, 4, sha256.map((byte) => byte ^ 1)));
  await vi.waitFor(() => expect(proofs()).toEqual(['same', 'different']));
  // It changed on the way: asked again, for some seconds.
  socket.receive(proofBytes(7, 8, 4, sha256));
  await vi.advanceTimersByTimeAsync(200);
  expect(socket.messages('prove')).toHaveLength(2);
  expect(proofs()).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(4_000);
  socket.receive(proofBytes(7, 8, 4, sha256));
  await vi.waitFor(() => expect(proofs().at(-1)).toBe('moving'));
  vi.stubGlobal('OffscreenCanvas', canvases(1));
  socket.receive(proofBytes(1, 8, 4, sha256));
  await vi.waitFor(() => expect(proofs().at(-1), 'reads what was not drawn').toBe('unable'));
  vi.stubGlobal('OffscreenCanvas', canvases(0));
  socket.receive(proofBytes(1, 8, 4, sha256));
  await vi.waitFor(() => expect(proofs().at(-1)).toBe('same'));
  vi.stubGlobal('crypto', {});
  socket.receive(proofBytes(1, 8, 4, sha256));
  await vi.waitFor(() => expect(proofs().at(-1)).toBe('unable'));
});

test('a proof that no answer comes to ends, and one that cannot be made says so', async () => {
  const { socket, engine, events } = await opened();
  const proofs = () => events.flatMap((event) => (event.event === 'proof' ? [event.proof] : []));
  engine.take({ command: 'prove' });
  await vi.advanceTimersByTimeAsync(3_000);
  socket.receive(statsBytes(1, 2));
  await vi.advanceTimersByTimeAsync(4_999);
  expect(proofs()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(proofs()).toEqual(['moving']);
  vi.stubGlobal('crypto', { subtle: { digest: () => Promise.reject(new Error('no memory')) } });
  engine.take({ command: 'prove' });
  socket.receive(proofBytes(1, 8, 4, new Uint8Array(32)));
  await vi.waitFor(() => expect(proofs()).toEqual(['moving', 'unable']));
});

test('a closed WebSocket is the end, told once', async () => {
  const { socket, engine, events } = await opened();
  const before = events.length;
  socket.emit('close', { code: 4001 });
  engine.take({ command: 'stop' });
  await vi.advanceTimersByTimeAsync(10_000);
  expect(events.slice(before)).toEqual([{ event: 'closed', code: 4001 }]);
});

class FakeAgent extends FakeSocket {
  static override last: FakeAgent | null = null;

  constructor() {
    super();
    FakeAgent.last = this;
  }

  /** Of the messages of one kind, what tests look at. */
  messages(kind: 'hello' | 'drawn' | 'input' | 'ping' | 'prove' | 'refresh' | 'view'): unknown[] {
    const number = { hello: 0x41, drawn: 0x42, input: 0x43, ping: 0x45, prove: 0x47, refresh: 0x48, view: 0x49 }[kind];
    return this.sent
      .filter(([first]) => first === number)
      .map((bytes) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        switch (kind) {
          case 'hello':
          case 'view':
            return JSON.parse(new TextDecoder().decode(bytes.subarray(1))) as unknown;
          case 'input':
            // A move of 13 bytes, then one without fields.
            return [view.getUint32(3, true), view.getUint32(16, true)];
          case 'refresh':
            return null;
          default:
            return view.getUint32(1, true);
        }
      });
  }
}

/** Draws nothing; has pixels to be read. */
class FakeCanvas extends EventTarget {
  width = 0;
  height = 0;
  readonly pixels = new Uint8ClampedArray(8 * 4 * 4).fill(7);
  getContext(): object {
    return { fillRect: () => undefined, drawImage: () => undefined, getImageData: () => ({ data: this.pixels }) };
  }
}

/** Holds what is drawn pixel by pixel, or the picture when that is drawn; reads `noise` too much of one pixel. */
function canvases(noise: number) {
  return class extends FakeCanvas {
    override getContext(): object {
      const filled: number[] = [];
      const context = {
        fillStyle: '',
        fillRect: () => filled.push(...(context.fillStyle.match(/\d+/g) ?? []).map(Number), 255),
        drawImage: () => undefined,
        getImageData: () => {
          const data = filled.length > 0 ? Uint8ClampedArray.from(filled) : this.pixels;
          return { data: data.map((value, at) => (at === 5 ? value + noise : value)) };
        },
      };
      return context;
    }
  };
}

function created() {
  const events: EngineEvent[] = [];
  const engine = new StreamEngine((event) => events.push(event));
  return { engine, events, kinds: () => events.map(({ event }) => event).filter((event) => event !== 'figures') };
}

function started(engine: StreamEngine, canvas = new FakeCanvas(), { video = true } = {}): FakeAgent {
  vi.stubGlobal('OffscreenCanvas', canvases(0));
  engine.take({ command: 'start', url: 'ws://agent', canvas: canvas as unknown as HTMLCanvasElement, view, cachePixels: 1_000, video });
  if (!FakeAgent.last) throw new Error('no WebSocket was made');
  return FakeAgent.last;
}

async function connected() {
  const made = created();
  const canvas = new FakeCanvas();
  const socket = started(made.engine, canvas);
  socket.open();
  await vi.waitFor(() => expect(socket.messages('hello')).toHaveLength(1));
  return { ...made, socket, canvas };
}

async function opened() {
  const made = await connected();
  made.socket.receive(helloBytes());
  made.socket.receive(updateBytes(1, [SIZE, FILL], { exact: true }));
  return made;
}
