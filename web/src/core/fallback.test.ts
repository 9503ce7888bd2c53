// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { type Candidate, FallbackTransport } from './fallback';
import { FakeTransport } from './testing/fakeTransport';
import type { Carrier, Choice, Loss, PictureSize } from './transport';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  document.body.replaceChildren();
});

test('the best that opens is used, and the next is never begun', () => {
  const { streams, vncs, heard, choices, element } = setup();
  expect(heard).toEqual([]);
  streams[0]?.emit('size', { width: 8, height: 4 });
  streams[0]?.open();
  vi.advanceTimersByTime(120_000);
  expect(heard).toEqual(['size 8x4', 'open', 'exact false', 'chosen websocket']);
  expect(choices.at(-1)).toEqual({ kind: 'websocket', pinned: false, passedOver: [] });
  expect(vncs).toHaveLength(0);
  expect(streams).toHaveLength(1);
  expect(element.children).toHaveLength(1);
});

test.each<[Loss, string]>([
  ['lost', 'refused'],
  ['unusable', 'unusable'],
  // An agent of another version hangs up, and the gateway knows no more than that.
  ['pictureLost', 'refused'],
])('refused by %s, the next one is begun at once', (loss, why) => {
  const { streams, vncs, heard, choices } = setup();
  streams[0]?.lose(loss);
  expect(vncs).toHaveLength(1);
  vncs[0]?.open();
  expect(heard).toEqual(['open', 'exact false', 'chosen vnc']);
  expect(choices.at(-1)?.passedOver).toEqual([{ kind: 'websocket', why }]);
});

test('three seconds without a picture begin the next one, and the first to draw is shown', () => {
  const { streams, vncs, choices, heard } = setup();
  streams[0]!.received = 100;
  vi.advanceTimersByTime(2_999);
  expect(vncs).toHaveLength(0);
  vi.advanceTimersByTime(1);
  expect(vncs).toHaveLength(1);
  expect(streams[0]?.disconnected).toBe(false);
  vncs[0]?.open();
  expect(choices.at(-1)).toMatchObject({ kind: 'vnc', passedOver: [{ why: 'late' }] });
  // On a slow line: better late than never.
  streams[0]?.open();
  expect(choices.at(-1)).toMatchObject({ kind: 'websocket', passedOver: [] });
  expect(vncs[0]?.disconnected).toBe(true);
  expect(heard.filter((event) => event === 'open')).toHaveLength(1);
});

test('one that does not answer at all makes room for the next', () => {
  const { streams, vncs, choices } = setup();
  vi.advanceTimersByTime(3_000);
  expect(streams[0]?.disconnected).toBe(true);
  vncs[0]?.open();
  expect(choices.at(-1)).toMatchObject({ kind: 'vnc', passedOver: [{ why: 'late' }] });
  vi.advanceTimersByTime(30_000);
  expect(streams).toHaveLength(2);
});

test('one that answers and never draws is dropped', () => {
  const { streams, vncs } = setup();
  streams[0]!.received = 100;
  vi.advanceTimersByTime(3_000);
  vncs[0]?.open();
  vi.advanceTimersByTime(12_000);
  expect(streams[0]?.disconnected).toBe(true);
});

test('the better one is tried again every 30 seconds, unseen, and takes over with its first picture', () => {
  const { streams, vncs, heard, element, transport } = setup();
  streams[0]?.lose();
  vncs[0]?.open();
  vi.advanceTimersByTime(29_999);
  expect(streams).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(streams).toHaveLength(2);
  expect(streams[1]?.layer?.isConnected).toBe(false);
  streams[1]?.lose();
  vi.advanceTimersByTime(30_000);
  expect(streams).toHaveLength(3);
  expect(vncs[0]?.disconnected).toBe(false);
  streams[2]?.emit('size', { width: 8, height: 4 });
  streams[2]?.emit('exact', { exact: true });
  transport.sendKey(1, 'KeyA');
  heard.length = 0;
  streams[2]?.open();
  expect(heard).toEqual(['size 8x4', 'exact true', 'chosen websocket']);
  expect([...element.children]).toEqual([streams[2]?.layer]);
  expect(vncs[0]?.disconnected).toBe(true);
  transport.sendKey(2, 'KeyB');
  expect([vncs[0]?.keys, streams[2]?.keys]).toEqual([[1], [2]]);
  vi.advanceTimersByTime(120_000);
  expect(streams).toHaveLength(3);
});

test('a try that shows nothing ends, and another one follows', () => {
  const { streams, vncs } = setup();
  streams[0]?.lose();
  vncs[0]?.open();
  vi.advanceTimersByTime(45_000);
  expect(streams[1]?.disconnected).toBe(true);
  vi.advanceTimersByTime(30_000);
  expect(streams).toHaveLength(3);
});

test('nothing is tried while nobody sees the page', () => {
  const { streams, vncs } = setup();
  streams[0]?.lose();
  vncs[0]?.open();
  const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
  vi.advanceTimersByTime(90_000);
  expect(streams).toHaveLength(1);
  hidden.mockReturnValue(false);
  vi.advanceTimersByTime(30_000);
  expect(streams).toHaveLength(2);
});

test('no stroke is torn: while a button is down, the better one waits', () => {
  const { streams, vncs, choices } = setup();
  streams[0]?.lose();
  vncs[0]?.open();
  vi.advanceTimersByTime(30_000);
  window.dispatchEvent(new PointerEvent('pointerdown', { buttons: 1 }));
  streams[1]?.open();
  vi.advanceTimersByTime(60_000);
  expect(choices.at(-1)?.kind).toBe('vnc');
  expect(streams).toHaveLength(2);
  window.dispatchEvent(new PointerEvent('pointerup', { buttons: 0 }));
  expect(choices.at(-1)?.kind).toBe('websocket');
});

test('what the page asked for holds for the one that takes over', () => {
  const { streams, vncs, transport } = setup();
  transport.watch(true);
  transport.setFocusOnClick(false);
  streams[0]?.lose();
  vncs[0]?.open();
  expect([vncs[0]?.watched, vncs[0]?.focusOnClick]).toEqual([true, false]);
  const canvas = document.createElement('canvas');
  canvas.tabIndex = 0;
  vncs[0]?.layer?.append(canvas);
  canvas.focus();
  vi.advanceTimersByTime(30_000);
  streams[1]?.open();
  expect([streams[1]?.watched, streams[1]?.focusOnClick, streams[1]?.focused]).toEqual([true, false, 1]);
});

test.each<Loss>(['sessionEnded', 'signedOut', 'serverRestarting'])('%s is the end, whether open or not', (loss) => {
  for (const opened of [false, true]) {
    const { streams, vncs, heard } = setup();
    if (opened) streams[0]?.open();
    streams[0]?.lose(loss);
    expect(heard.at(-1)).toBe(`closed ${loss}`);
    vi.advanceTimersByTime(120_000);
    expect([streams.length, vncs.length]).toEqual([1, 0]);
  }
});

test.each<Loss>(['lost', 'pictureLost'])('an open one closed by %s is the connection’s business', (loss) => {
  const { streams, vncs, heard } = setup();
  streams[0]?.open();
  streams[0]?.lose(loss);
  expect(heard.at(-1)).toBe(`closed ${loss}`);
  vi.advanceTimersByTime(60_000);
  expect(vncs).toHaveLength(0);
});

test('an open one that turns out unusable leaves its picture until the next one has drawn', () => {
  const { streams, vncs, heard, element, choices } = setup();
  streams[0]?.open();
  streams[0]?.lose('unusable');
  expect([...element.children]).toEqual([vncs[0]?.layer, streams[0]?.layer]);
  vncs[0]?.open();
  expect([...element.children]).toEqual([vncs[0]?.layer]);
  expect(choices.at(-1)).toMatchObject({ kind: 'vnc', passedOver: [{ why: 'unusable' }] });
  expect(heard.filter((event) => event.startsWith('closed'))).toEqual([]);
});

test('and when the next one does not draw either, that is the end', () => {
  const first = setup();
  first.streams[0]?.open();
  first.streams[0]?.lose('unusable');
  vi.advanceTimersByTime(15_000);
  expect(first.heard.at(-1)).toBe('closed lost');
});

test('all refused: closed, once', async () => {
  const { streams, vncs, heard } = setup();
  streams[0]?.lose();
  vncs[0]?.lose('pictureLost');
  await vi.advanceTimersByTimeAsync(0);
  expect(heard).toEqual(['closed pictureLost']);
});

test('the last one refused, the late one may still come', () => {
  const { streams, vncs, heard } = setup();
  streams[0]!.received = 100;
  vi.advanceTimersByTime(3_000);
  vncs[0]?.lose();
  expect(heard).toEqual([]);
  streams[0]?.open();
  expect(heard).toContain('chosen websocket');
});

test('what this browser cannot do is not tried, nor later', () => {
  const { streams, vncs, choices } = setup({ supported: false });
  vncs[0]?.open();
  vi.advanceTimersByTime(120_000);
  expect(streams).toHaveLength(0);
  expect(choices).toEqual([{ kind: 'vnc', pinned: false, passedOver: [{ kind: 'websocket', why: 'unsupported' }] }]);
});

test('a pinned one is the only one', async () => {
  const { streams, vncs, heard } = setup({ pinned: true });
  vi.advanceTimersByTime(60_000);
  expect(vncs).toHaveLength(0);
  streams[0]?.lose();
  await vi.advanceTimersByTimeAsync(0);
  expect(heard).toEqual(['closed lost']);
});

test('after disconnect nothing is left and nothing is said', () => {
  const { streams, vncs, heard, element, transport } = setup();
  streams[0]!.received = 100;
  vi.advanceTimersByTime(3_000);
  transport.disconnect();
  streams[0]?.open();
  vncs[0]?.open();
  vi.advanceTimersByTime(120_000);
  expect(heard).toEqual([]);
  expect(element.children).toHaveLength(0);
  expect([streams, vncs].flat().every(({ disconnected }) => disconnected)).toBe(true);
});

function setup({ supported = true, pinned = false } = {}) {
  const element = document.createElement('div');
  document.body.append(element);
  const streams: FakeTransport[] = [];
  const vncs: FakeTransport[] = [];
  const candidates: Candidate[] = [
    { kind: 'websocket', supported: () => supported, make: (layer) => made(streams, new FakeTransport('websocket', layer)) },
    { kind: 'vnc', supported: () => true, make: (layer) => made(vncs, new FakeTransport('vnc', layer)) },
  ];
  const transport = new FallbackTransport(element, pinned ? candidates.slice(0, 1) : candidates, pinned);
  const heard: string[] = [];
  const choices: Choice[] = [];
  transport.connect((event, data) => {
    if (event === 'chosen') choices.push(data as Choice);
    const size = data as PictureSize;
    const words = {
      open: '',
      closed: (data as { loss?: Loss } | undefined)?.loss,
      size: `${size?.width}x${size?.height}`,
      exact: (data as { exact?: boolean } | undefined)?.exact,
      chosen: (data as Choice | undefined)?.kind,
      clipboard: '',
      carrier: (data as Carrier | undefined)?.kind,
    }[event];
    heard.push(`${event} ${words}`.trim());
  });
  return { element, transport, streams, vncs, heard, choices };
}

function made(list: FakeTransport[], transport: FakeTransport): FakeTransport {
  list.push(transport);
  return transport;
}
