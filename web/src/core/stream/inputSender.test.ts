import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { TimedAction } from './engine';
import { InputSender } from './inputSender';
import type { InputEvent } from './messages';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

test('without a data channel everything goes the way that loses nothing', () => {
  const { sender, given } = setup({ open: false });
  sender.take([move(1), key(true)]);
  sender.take([key(false)]);
  expect(given()).toEqual([[1, 2], [3]]);
  vi.advanceTimersByTime(5_000);
  expect(given()).toHaveLength(2);
});

test('keys and buttons are in every message until they are taken, hovering is not', () => {
  const { sender, sent } = setup();
  sender.take([key(true)]);
  vi.advanceTimersByTime(8);
  sender.take([move(1), move(2)]);
  sender.take([key(false)]);
  expect(sent()).toEqual([[1], [1, 2, 3], [1, 3, 4]]);
  sender.taken(3);
  vi.advanceTimersByTime(8);
  sender.take([move(3)]);
  expect(sent().at(-1)).toEqual([4, 5]);
});

test('no part of a stroke is left out', () => {
  const { sender, sent } = setup();
  sender.take([button(true)]);
  vi.advanceTimersByTime(8);
  sender.take([move(1), move(2)]);
  vi.advanceTimersByTime(8);
  sender.take([move(3)]);
  expect(sent().at(-1)).toEqual([1, 2, 3, 4]);
  sender.take([button(false)]);
  vi.advanceTimersByTime(8);
  sender.take([move(4)]);
  vi.advanceTimersByTime(8);
  sender.take([move(5)]);
  expect(sent().at(-1)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  sender.taken(5);
  vi.advanceTimersByTime(8);
  sender.take([move(6)]);
  expect(sent().at(-1)).toEqual([7, 8]);
});

test('moves go every few milliseconds, the first at once, and a click or a key takes them along without waiting', () => {
  const { sender, sent } = setup();
  sender.take([move(1)]);
  vi.advanceTimersByTime(1);
  sender.take([move(2)]);
  vi.advanceTimersByTime(1);
  sender.take([move(3)]);
  expect(sent()).toEqual([[1]]);
  vi.advanceTimersByTime(6);
  expect(sent().at(-1)).toEqual([1, 2, 3]);
  vi.advanceTimersByTime(1);
  sender.take([move(4)]);
  sender.take([button(true)]);
  expect(sent().at(-1)).toEqual([3, 4, 5]);
  sender.take([key(true)]);
  expect(sent().at(-1)).toEqual([4, 5, 6]);
  const before = sent().length;
  vi.advanceTimersByTime(8);
  expect(sent(), 'nothing is left to be sent').toHaveLength(before);
});

test('moves that wait are not lost with the data channel', () => {
  const { sender, given, open } = setup();
  sender.take([key(true)]);
  sender.take([move(1)]);
  open(false);
  sender.closed();
  expect(given().flat()).toEqual([1, 2]);
  vi.advanceTimersByTime(5_000);
  expect(given().flat()).toEqual([1, 2]);
});

test('a stroke of a fast mouse on a long way stays a stroke, and does not fill the line', () => {
  const { sender, sent } = setup();
  sender.take([button(true)]);
  // 1000 a second for half a second, and each answer takes 120 ms.
  for (let ms = 1; ms <= 500; ms++) {
    vi.advanceTimersByTime(1);
    const newest = sent().at(-1)?.at(-1) ?? 0;
    if (ms % 8 === 0) setTimeout(() => sender.taken(newest), 120);
    sender.take([move(ms)]);
  }
  const bytes = sent().reduce((sum, message) => sum + 3 + 13 * message.length, 0);
  // A tenth of that are the moves themselves, once.
  expect(bytes * 2 * 8).toBeLessThan(1_200_000);
  for (const message of sent().slice(1)) {
    // Every 8 ms there is a point of the line, in every message.
    const gaps = message.slice(1).map((number, i) => number - (message[i] ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(9);
  }
});

test('what is not taken is sent again, and after a second another way too; taken by that one only, the data channel is dead', () => {
  const { sender, sent, given, dead } = setup();
  sender.take([key(true)]);
  vi.advanceTimersByTime(70);
  expect(sent().length).toBeGreaterThan(1);
  expect(new Set(sent().map(String))).toEqual(new Set(['1']));
  vi.advanceTimersByTime(1_300);
  expect(given()).toEqual([[], [1]]);
  // What comes now does not wait either.
  sender.take([key(false)]);
  expect(given()).toEqual([[], [1], [2]]);
  expect(dead).not.toHaveBeenCalled();
  sender.taken(2);
  vi.advanceTimersByTime(500);
  expect(dead).toHaveBeenCalledTimes(1);
  sender.closed();
  const before = sent().length;
  vi.advanceTimersByTime(5_000);
  expect(sent()).toHaveLength(before);
  expect(given()).toHaveLength(3);
});

test('an agent that stood still is no dead data channel', () => {
  const { sender, given, dead } = setup();
  sender.take([key(true)]);
  vi.advanceTimersByTime(3_000);
  expect(given()).toEqual([[], [1]]);
  // Both ways answer when it goes on, in any order.
  sender.taken(1);
  vi.advanceTimersByTime(100);
  sender.heard();
  sender.taken(1);
  vi.advanceTimersByTime(5_000);
  expect(dead).not.toHaveBeenCalled();
  sender.take([key(false)]);
  expect(given().at(-1), 'it is trusted again').toEqual([]);
});

test('what is taken is not sent again', () => {
  const { sender, sent, dead } = setup();
  sender.take([key(true)]);
  sender.taken(1);
  vi.advanceTimersByTime(5_000);
  expect(sent()).toHaveLength(1);
  expect(dead).not.toHaveBeenCalled();
});

test('what went on the other channel is repeated on the data channel until it is taken', () => {
  const { sender, sent, given, open } = setup({ open: false });
  sender.take([key(true)]);
  open(true);
  vi.advanceTimersByTime(8);
  sender.take([move(1)]);
  expect(given()).toEqual([[1], []]);
  expect(sent()).toEqual([[1, 2]]);
});

test('a paste does not overtake its text', () => {
  const { sender, sent, given } = setup();
  sender.take([move(1)]);
  sender.keepOrder();
  sender.take([key(true)]);
  sender.take([key(false)]);
  expect(sent()).toEqual([[1]]);
  expect(given()).toEqual([[], [1, 2], [3]]);
  // Nor when what came before is sent again.
  vi.advanceTimersByTime(70);
  expect(sent()).toEqual([[1], [1]]);
  sender.taken(1);
  vi.advanceTimersByTime(500);
  sender.take([move(2)]);
  expect(sent()).toHaveLength(2);
  sender.taken(2);
  vi.advanceTimersByTime(8);
  sender.take([move(3)]);
  expect(sent().at(-1)).toEqual([3, 4, 5]);
});

/** Any messages may be lost and come late: every key is taken, in its order, and the pointer ends where it is. */
test('on a channel that loses and reorders, and comes and goes, the agent takes every key and every part of a stroke', () => {
  for (let seed = 1; seed <= 200; seed++) {
    let state = seed;
    const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    const agent = { newest: 0, taken: [] as string[] };
    const words = (event: InputEvent) => (event.action === 'move' ? `move ${event.x}` : event.action === 'key' ? `key ${event.down}` : `button ${'down' in event && event.down}`);
    const receive = (events: readonly InputEvent[]) => {
      for (const event of events) {
        if (event.number <= agent.newest) continue;
        agent.newest = event.number;
        agent.taken.push(words(event));
      }
      const number = agent.newest;
      if (random() > 0.3) setTimeout(() => sender.taken(number), random() * 60);
    };
    let open = true;
    // Loses nothing and keeps the order, and is slower at times.
    const slow: (readonly InputEvent[])[] = [];
    const sender: InputSender = new InputSender({
      send: (message) => {
        if (open && random() > 0.3) setTimeout(() => receive(read(message)), random() * 60);
        return open;
      },
      give: (_, unsent) => {
        slow.push(unsent);
        setTimeout(() => receive(slow.shift() ?? []), random() * 90);
      },
      onDead: () => undefined,
    });
    const wanted: string[] = [];
    let held = false;
    for (let step = 0; step < 40; step++) {
      if (random() < 0.15) {
        open = !open;
        if (!open) sender.closed();
      }
      const what = random();
      if (what < 0.25) {
        held = !held;
        sender.take([button(held)]);
        wanted.push(`button ${held}`);
      } else if (what < 0.4) {
        sender.take([key(step % 2 === 0)]);
        wanted.push(`key ${step % 2 === 0}`);
      } else {
        sender.take([move(step)]);
        if (held || step === 39) wanted.push(`move ${step}`);
      }
      vi.advanceTimersByTime(random() * 30);
    }
    open = true;
    sender.take([move(99)]);
    wanted.push('move 99');
    vi.advanceTimersByTime(2_000);
    let held2 = false;
    const kept = agent.taken.filter((word, i) => {
      if (word.startsWith('button')) held2 = word.endsWith('true');
      return !word.startsWith('move') || held2 || i === agent.taken.length - 1;
    });
    expect(kept, `seed ${seed}`).toEqual(wanted.filter((word) => word !== 'move 39' || kept.includes(word)));
    sender.stop();
  }
});

const at = 0;
const move = (x: number): TimedAction => ({ action: 'move', x, y: 0, at });
const key = (down: boolean): TimedAction => ({ action: 'key', keysym: 97, keycode: 38, down, at });
const button = (down: boolean): TimedAction => ({ action: 'button', x: 0, y: 0, button: 1, down, at });

const BYTES: Record<number, number> = { 1: 13, 2: 15, 3: 17, 4: 15, 5: 9 };

/** Events of an `Input` message. */
function read(message: Uint8Array): InputEvent[] {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const events: InputEvent[] = [];
  let offset = 3;
  for (let count = view.getUint16(1, true); count > 0; count--) {
    const number = view.getUint32(offset, true);
    const kind = view.getUint8(offset + 8);
    const fields = offset + 9;
    if (kind === 1) events.push({ number, atUs: 0, action: 'move', x: view.getUint16(fields, true), y: 0 });
    if (kind === 2) events.push({ number, atUs: 0, action: 'button', x: 0, y: 0, button: 1, down: view.getUint8(fields + 5) === 1 });
    if (kind === 4) events.push({ number, atUs: 0, action: 'key', keysym: 97, keycode: 38, down: view.getUint8(fields + 5) === 1 });
    offset += BYTES[kind] ?? 9;
  }
  return events;
}

function setup({ open: opened = true } = {}) {
  let open = opened;
  const messages: number[][] = [];
  const given: number[][] = [];
  const dead = vi.fn();
  const sender = new InputSender({
    send: (message) => {
      if (open) messages.push(read(message).map(({ number }) => number));
      return open;
    },
    give: (_, unsent) => given.push(unsent.map(({ number }) => number)),
    onDead: dead,
  });
  return { sender, sent: () => messages, given: () => given, dead, open: (now: boolean) => (open = now) };
}
