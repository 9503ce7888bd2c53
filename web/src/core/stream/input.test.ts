// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { SessionInput } from './input';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  document.body.replaceChildren();
});

test('a key with its keysym and its X keycode, and each repeat anew', async () => {
  const { key, sent } = setup();
  key('keydown', 'KeyA', 'a');
  key('keydown', 'KeyA', 'a', { repeat: true });
  key('keydown', 'KeyA', 'a', { repeat: true });
  key('keyup', 'KeyA', 'a');
  await settled();
  expect(sent()).toEqual(['97/38 down', '97/38 down', '97/38 down', '97/38 up']);
});

test('AltGr of Windows, which comes as Ctrl and Alt, is ISO_Level3_Shift', async () => {
  vi.spyOn(navigator, 'platform', 'get').mockReturnValue('Win32');
  const { key, sent } = setup();
  key('keydown', 'ControlLeft', 'Control');
  key('keydown', 'AltRight', 'AltGraph');
  key('keydown', 'KeyQ', '@');
  key('keyup', 'KeyQ', '@');
  key('keyup', 'ControlLeft', 'Control');
  key('keyup', 'AltRight', 'AltGraph');
  await settled();
  expect(sent()).toEqual(['65027/108 down', '64/24 down', '64/24 up', '65027/108 up']);
});

test('a Ctrl of Windows that is one is sent after all', async () => {
  vi.spyOn(navigator, 'platform', 'get').mockReturnValue('Win32');
  const { key, sent } = setup();
  key('keydown', 'ControlLeft', 'Control');
  vi.advanceTimersByTime(100);
  key('keyup', 'ControlLeft', 'Control');
  await settled();
  expect(sent()).toEqual(['65507/37 down', '65507/37 up']);
});

test('a Ctrl of Windows comes before what is clicked, turned or pasted with it', async () => {
  vi.spyOn(navigator, 'platform', 'get').mockReturnValue('Win32');
  for (const what of ['click', 'wheel', 'paste']) {
    const { key, input, sent, element } = setup();
    key('keydown', 'ControlLeft', 'Control');
    element.dispatchEvent(new PointerEvent('pointermove', { clientX: 3 }));
    if (what === 'click') element.dispatchEvent(new PointerEvent('pointerdown', { buttons: 1 }));
    else if (what === 'wheel') element.dispatchEvent(new WheelEvent('wheel', { deltaY: 100 }));
    else input.sendKey(0x76, 'KeyV');
    await settled();
    const after = { click: 'button', wheel: 'wheel', paste: '118/55 down' }[what];
    const seen = sent();
    expect(seen, what).toContain('65507/37 down');
    expect(seen.indexOf('65507/37 down'), what).toBeLessThan(seen.indexOf(after ?? ''));
    input.stop();
  }
});

test('moving the pointer while AltGr is typed does not make Ctrl of it', async () => {
  vi.spyOn(navigator, 'platform', 'get').mockReturnValue('Win32');
  const { key, sent, element } = setup();
  key('keydown', 'ControlLeft', 'Control');
  element.dispatchEvent(new PointerEvent('pointermove', { clientX: 3 }));
  element.dispatchEvent(new PointerEvent('pointerrawupdate', { clientX: 4 }));
  key('keydown', 'AltRight', 'AltGraph');
  await settled();
  expect(sent().filter((what) => what !== 'move')).toEqual(['65027/108 down']);
});

test.each(['blur', 'pagehide'])('nothing sticks after %s', async (type) => {
  const { key, sent } = setup();
  key('keydown', 'ShiftLeft', 'Shift');
  window.dispatchEvent(new Event(type));
  await settled();
  expect(sent()).toEqual(['65505/50 down', '65505/50 up', 'releaseAll']);
});

test('typing is a press and a release, and one message', async () => {
  const { input, sent, messages } = setup();
  input.sendKey(0xff0d, 'Enter');
  await settled();
  expect(sent()).toEqual(['65293/36 down', '65293/36 up']);
  expect(messages()).toBe(1);
});

test('after the end nothing is heard', async () => {
  const { key, input, sent } = setup();
  input.stop();
  key('keydown', 'KeyA', 'a');
  await settled();
  expect(sent()).toEqual([]);
});

async function settled(): Promise<void> {
  await Promise.resolve();
  await Promise.resolve();
}

function setup() {
  const element = document.createElement('canvas');
  document.body.append(element);
  const batches: string[][] = [];
  const input = new SessionInput({
    element,
    picture: () => ({ width: 10, height: 10 }),
    send: (actions) =>
      batches.push(actions.map((action) => (action.action === 'key' ? `${action.keysym}/${action.keycode} ${action.down ? 'down' : 'up'}` : action.action))),
    onFinger: () => undefined,
  });
  const key = (type: string, code: string, value: string, init: KeyboardEventInit = {}) => {
    const event = new KeyboardEvent(type, { code, key: value, cancelable: true, ...init });
    Object.defineProperty(event, 'getModifierState', { value: () => false });
    element.dispatchEvent(event);
  };
  return { element, input, key, sent: () => batches.flat(), messages: () => batches.length };
}
