// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { EngineCommand, EngineEvent, Figures } from './engine';
import { type EngineHost, startEngine } from './engineHost';
import { StreamTransport } from './streamTransport';

vi.mock('./engineHost', () => ({ startEngine: vi.fn() }));
vi.mock('./refresh', () => ({ followRefreshRate: (tell: (rate: number) => void) => (tellRefresh = tell) }));

let tellRefresh: (rate: number) => void = () => undefined;

beforeEach(() => {
  vi.stubGlobal('ImageData', class {});
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

test('the canvas is seen, and input taken, with the first picture', async () => {
  const { transport, canvas, emit, commands, heard, started } = setup();
  await started();
  transport.sendKey(97, 'KeyA');
  expect(canvas().style.visibility).toBe('hidden');
  emit({ event: 'size', width: 8, height: 4 });
  emit({ event: 'open' });
  expect(canvas().style.visibility).toBe('');
  expect(heard).toEqual(['size', 'carrier', 'open']);
  transport.sendKey(97, 'KeyA');
  await Promise.resolve();
  expect(commands.filter(({ command }) => command === 'input')).toHaveLength(1);
});

test('what is said before the engine is there waits for it', async () => {
  const { transport, commands, started } = setup();
  transport.sendClipboard('early');
  transport.watch(true);
  expect(commands).toEqual([]);
  await started();
  expect(commands).toEqual([
    { command: 'clipboard', text: 'early' },
    { command: 'watched', watched: true },
  ]);
});

test('the engine hears who looks, and how often the display can change', async () => {
  const { commands, started } = setup();
  await started();
  vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
  document.dispatchEvent(new Event('visibilitychange'));
  tellRefresh(144);
  tellRefresh(144);
  expect(commands).toEqual([
    { command: 'view', view: { hidden: true, refresh: 60 } },
    { command: 'view', view: { hidden: true, refresh: 144 } },
  ]);
});

test.each([
  [4000, 'sessionEnded'],
  [4002, 'pictureLost'],
  [4400, 'unusable'],
  [1006, 'lost'],
])('closed with %i: %s, told once, and the picture stays', async (code, loss) => {
  const { transport, emit, heard, losses, started, stop, element } = setup();
  await started();
  emit({ event: 'size', width: 8, height: 4 });
  emit({ event: 'closed', code });
  emit({ event: 'open' });
  transport.disconnect();
  expect(losses).toEqual([loss]);
  expect(heard).toEqual(['size', 'closed']);
  expect(stop).toHaveBeenCalledTimes(1);
  expect(element.children).toHaveLength(0);
});

test('an engine that cannot be started, for its code did not come, is not one of another version', async () => {
  const { losses } = setup(Promise.reject(new Error('no such file')));
  await vi.waitFor(() => expect(losses).toEqual(['lost']));
});

test('a browser that does not decode what it said is asked for video once', async () => {
  const first = setup();
  await first.started();
  expect(vi.mocked(startEngine).mock.lastCall?.[0]).toMatchObject({ video: true });
  first.emit({ event: 'noVideo' });
  first.emit({ event: 'closed', code: 1006 });
  expect(first.losses).toEqual(['lost']);
  const second = setup();
  await second.started();
  expect(vi.mocked(startEngine).mock.lastCall?.[0]).toMatchObject({ video: false });
});

test('one that comes after the end is stopped at once', async () => {
  const { transport, stop, started, commands } = setup();
  transport.disconnect();
  await started();
  expect(stop).toHaveBeenCalledTimes(1);
  expect(commands).toEqual([]);
});

test('figures, exactness and proofs are passed on', async () => {
  const { transport, emit, heard, started } = setup();
  await started();
  expect(await transport.prove()).toBe('moving');
  emit({ event: 'size', width: 8, height: 4 });
  emit({ event: 'open' });
  const figures: Figures = { received: 5, bitsPerSecond: 6, fps: 7, rttMs: 8, inputToPixelMs: null, agent: { tilesMs: 1, videoMs: 2 } };
  emit({ event: 'figures', figures });
  emit({ event: 'exact', exact: true });
  expect(transport.stats()).toEqual({ kind: 'websocket', exact: true, ...figures });
  expect(heard.at(-1)).toBe('exact');
  const proof = transport.prove();
  emit({ event: 'proof', proof: 'same' });
  expect(await proof).toBe('same');
  const unanswered = transport.prove();
  transport.disconnect();
  expect(await unanswered).toBe('moving');
});

function setup(result?: Promise<EngineHost>) {
  const element = document.createElement('div');
  document.body.append(element);
  const commands: EngineCommand[] = [];
  const stop = vi.fn();
  let emit: (event: EngineEvent) => void = () => undefined;
  const host: EngineHost = { tell: (command) => commands.push(command), stop };
  const promise = result ?? Promise.resolve(host);
  vi.mocked(startEngine).mockImplementation((_, onEvent) => {
    emit = onEvent;
    return promise;
  });
  const transport = new StreamTransport(element, { url: 'ws://agent', webrtc: null });
  const heard: string[] = [];
  const losses: string[] = [];
  transport.connect((event, data) => {
    heard.push(event);
    if (event === 'closed') losses.push((data as { loss: string }).loss);
  });
  const canvas = () => {
    const found = element.querySelector('canvas');
    if (!found) throw new Error('no canvas');
    return found;
  };
  const started = async () => {
    await promise;
    await Promise.resolve();
  };
  return { element, transport, canvas, commands, stop, heard, losses, started, emit: (event: EngineEvent) => emit(event) };
}
