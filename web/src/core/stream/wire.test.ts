import { expect, test } from 'vitest';

import golden from '../../../../crates/protocol/golden/stream.json';
import type { ToAgent, ToClient } from './messages';
import { decodeToClient, encodeToAgent, WireError } from './wire';
import { seeded } from './testing/random';

test.each(golden.toClient)('the agent’s $name is understood', ({ hex, message }) => {
  expect(plain(decodeToClient(fromHex(hex)))).toEqual(camel(message));
});

test.each(golden.toAgent)('our $name is what the agent expects', ({ hex, message }) => {
  const bytes = encodeToAgent(camel(message) as ToAgent);
  // Of JSON the order of the fields does not matter, though it is the same.
  expect(toHex(bytes)).toBe(hex);
});

test('tile data is a part of the message, not a copy', () => {
  const bytes = fromHex(golden.toClient.find(({ name }) => name === 'update')?.hex ?? '');
  const message = decodeToClient(bytes);
  const tiles = message.kind === 'update' ? message.ops.filter((op) => op.op === 'tile') : [];
  expect(tiles).toHaveLength(3);
  for (const tile of tiles) expect(tile.data.buffer).toBe(bytes.buffer);
});

test('a message in the middle of a larger buffer is read from its own beginning', () => {
  const padded = fromHex(`ffff${golden.toClient[0]?.hex}`);
  expect(decodeToClient(padded.subarray(2)).kind).toBe('hello');
});

test('every cut-off message is refused, and every longer one', () => {
  for (const { hex, name } of golden.toClient) {
    // Text may be cut between two characters, and still is text.
    if (name === 'clipboard') continue;
    const bytes = fromHex(hex);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeToClient(bytes.subarray(0, length)), `${name} cut at ${length}`).toThrow(WireError);
    }
    expect(() => decodeToClient(new Uint8Array([...bytes, 0x21])), `${name} and more`).toThrow(WireError);
  }
});

test('what is out of bounds is refused', () => {
  expect(() => decodeToClient(fromHex('0300000000010101000000'))).toThrow('cursor');
  expect(() => decodeToClient(new Uint8Array(2 + (1 << 20)).fill(4))).toThrow('text');
  expect(() => decodeToClient(fromHex('04ff'))).toThrow('UTF-8');
  expect(() => decodeToClient(fromHex('017b7d'))).toThrow('JSON');
  expect(() => encodeToAgent({ kind: 'clipboard', text: 'x'.repeat((1 << 20) + 1) })).toThrow(WireError);
  const event = { number: 1, atUs: 0, action: 'releaseAll' } as const;
  expect(() => encodeToAgent({ kind: 'input', events: new Array<typeof event>(4097).fill(event) })).toThrow(WireError);
});

/** For as long as wanted: FUZZ_SECONDS=600 npx vitest run wire. */
const fuzzing = 1000 * Number(process.env.FUZZ_SECONDS ?? 0);

test('any bytes are a message or a WireError', { timeout: fuzzing + 20_000 }, () => {
  const until = Date.now() + fuzzing;
  const random = seeded(fuzzing === 0 ? 1 : until);
  const samples = golden.toClient.map(({ hex }) => fromHex(hex));
  for (let round = 0; round < 20_000 || Date.now() < until; round++) {
    const sample = samples[random(samples.length)] ?? new Uint8Array();
    const bytes = round % 2 === 0 ? sample.slice(0, random(sample.length + 1)) : new Uint8Array(random(64)).map(() => random(256));
    if (round % 2 === 1 && bytes.length > 0) bytes[0] = random(11);
    for (let flips = random(4); flips > 0 && bytes.length > 0; flips--) bytes[random(bytes.length)] = random(256);
    try {
      decodeToClient(bytes);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
  }
});

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Bytes as the golden file has them: lists of numbers. */
function plain(message: ToClient): unknown {
  return JSON.parse(JSON.stringify(message, (_, value: unknown) => (value instanceof Uint8Array ? [...value] : value)));
}

/** Rust leaves the names of an enum variant's fields as they are. */
function camel(message: object): unknown {
  return JSON.parse(JSON.stringify(message).replaceAll('"to_x"', '"toX"').replaceAll('"to_y"', '"toY"'));
}
