import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Connection, type ConnectionState, type Probe } from './connection';
import { FakeTransport } from './testing/fakeTransport';
import { type Loss, lossOf, type Transport } from './transport';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('opens, and says so once', () => {
  const { connection, transports, states } = setup();
  connection.start();
  connection.start();
  expect(transports).toHaveLength(1);
  transports[0]?.emit('open', undefined);
  expect(states()).toEqual(['connecting', 'connected']);
});

test('after a loss the picture is kept and the next transport is made once the session is known to run', async () => {
  const { connection, transports, states, lost } = setup();
  connection.start();
  transports[0]?.emit('open', undefined);
  transports[0]?.lose();
  expect(lost).toEqual([transports[0]]);
  expect(transports).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(transports).toHaveLength(2);
  transports[1]?.emit('open', undefined);
  expect(states()).toEqual(['connecting', 'connected', 'reconnecting', 'reconnecting', 'connected']);
});

test('waits longer after each failure and never gives up while the server is unreachable', async () => {
  const { connection, transports, probe } = setup();
  probe.mockResolvedValue('unreachable');
  connection.start();
  transports[0]?.lose();
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  const asked = probe.mock.calls.length;
  // 8 s apart at most, 4 s apart at least, and some quicker ones in the beginning.
  expect(asked).toBeGreaterThan(30);
  expect(asked).toBeLessThan(90);
  expect(connection.state.kind).toBe('reconnecting');
  probe.mockResolvedValue('running');
  await vi.advanceTimersByTimeAsync(8_000);
  expect(transports).toHaveLength(2);
});

test('a session that has ended meanwhile ends the connection for good', async () => {
  const { connection, transports, probe } = setup();
  probe.mockResolvedValue('ended');
  connection.start();
  transports[0]?.emit('open', undefined);
  transports[0]?.lose();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(connection.state).toEqual({ kind: 'ended', cause: 'sessionEnded' });
  connection.start();
  connection.retryNow();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(transports).toHaveLength(1);
});

test('signing out elsewhere ends it too', async () => {
  const { connection, transports, probe } = setup();
  probe.mockResolvedValue('signedOut');
  connection.start();
  transports[0]?.lose();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(connection.state).toEqual({ kind: 'ended', cause: 'signedOut' });
});

test('a transport that never opens is given up', async () => {
  const { connection, transports } = setup();
  connection.start();
  await vi.advanceTimersByTimeAsync(15_000);
  expect(transports[0]?.disconnected).toBe(true);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(transports).toHaveLength(2);
});

test('what an abandoned transport says is ignored', async () => {
  const { connection, transports, sizes } = setup();
  connection.start();
  transports[0]?.lose();
  await vi.advanceTimersByTimeAsync(1_000);
  transports[0]?.emit('open', undefined);
  transports[0]?.emit('size', { width: 1, height: 1 });
  expect(connection.state.kind).toBe('reconnecting');
  expect(sizes).toEqual([]);
  transports[1]?.emit('size', { width: 640, height: 480 });
  expect(sizes).toEqual([{ width: 640, height: 480 }]);
});

test('reopening keeps the picture and makes another transport', () => {
  const { connection, transports, lost, states } = setup();
  connection.reopen();
  connection.start();
  transports[0]?.emit('open', undefined);
  connection.reopen();
  expect(lost).toEqual([transports[0]]);
  expect(transports[0]?.disconnected).toBe(true);
  transports[1]?.emit('open', undefined);
  expect(states()).toEqual(['connecting', 'connected', 'connecting', 'connected']);
});

test('another transport that is wanted during an attempt takes its place', async () => {
  const { connection, transports } = setup();
  connection.start();
  transports[0]?.open();
  transports[0]?.lose();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(transports).toHaveLength(2);
  connection.reopen();
  expect(transports[1]?.disconnected).toBe(true);
  await vi.advanceTimersByTimeAsync(0);
  expect(transports).toHaveLength(3);
  transports[1]?.open();
  expect(connection.state.kind).toBe('reconnecting');
  transports[2]?.open();
  expect(connection.state.kind).toBe('connected');
});

test('a network that vanished is noticed although nothing is closed', async () => {
  const { connection, transports, probe, lost } = setup();
  connection.start();
  transports[0]?.emit('open', undefined);
  // Pictures keep coming: nobody is asked.
  for (let i = 0; i < 4; i++) {
    await vi.advanceTimersByTimeAsync(10_000);
    transports[0]!.received += 1000;
  }
  expect(probe).not.toHaveBeenCalled();
  expect(transports[0]?.pings).toBe(0);
  // At rest: both are asked, for the server's answer says nothing of the picture's own connection.
  await vi.advanceTimersByTimeAsync(30_000);
  expect(probe).toHaveBeenCalled();
  expect(transports[0]?.pings).toBe(probe.mock.calls.length);
  expect(connection.state.kind).toBe('connected');
  probe.mockResolvedValue('unreachable');
  await vi.advanceTimersByTimeAsync(16_000);
  expect(connection.state.kind).toBe('reconnecting');
  expect(lost).toEqual([transports[0]]);
  expect(transports[0]?.disconnected).toBe(true);
});

test('on another network what is open is asked for a sign of life, and what is waited for is tried at once', async () => {
  const { connection, transports } = setup();
  connection.start();
  connection.check();
  expect(transports[0]?.pings).toBe(0);
  transports[0]?.open();
  connection.check();
  expect(transports[0]?.pings).toBe(1);
  // It gave none.
  transports[0]?.lose();
  connection.check();
  await vi.advanceTimersByTimeAsync(0);
  expect(transports).toHaveLength(2);
});

test('a session that ended without a word is noticed', async () => {
  const { connection, transports, probe } = setup();
  connection.start();
  transports[0]?.emit('open', undefined);
  probe.mockResolvedValue('ended');
  await vi.advanceTimersByTimeAsync(16_000);
  expect(connection.state).toEqual({ kind: 'ended', cause: 'sessionEnded' });
});

test('trying at once skips the wait, and the old wait does not open a second transport', async () => {
  const { connection, transports } = setup();
  connection.start();
  transports[0]?.lose();
  connection.retryNow();
  connection.retryNow();
  await vi.advanceTimersByTimeAsync(0);
  expect(transports).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(transports).toHaveLength(2);
});

test('an answer that comes after the page left changes nothing', async () => {
  const { connection, transports, probe } = setup();
  let answer: (probe: Probe) => void = () => undefined;
  probe.mockReturnValue(new Promise((resolve) => (answer = resolve)));
  connection.start();
  transports[0]?.lose();
  await vi.advanceTimersByTimeAsync(1_000);
  connection.close('closed');
  answer('running');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(transports).toHaveLength(1);
  expect(connection.state).toEqual({ kind: 'ended', cause: 'closed' });
});

// As the gateway closes; see docs/architecture.md.
test.each<[number, Loss]>([
  [4000, 'sessionEnded'],
  [4001, 'signedOut'],
  [4002, 'pictureLost'],
  [1012, 'serverRestarting'],
  [4400, 'unusable'],
  [1006, 'lost'],
])('close code %i means %s, and the page is told', (code, loss) => {
  expect(lossOf(code)).toBe(loss);
  const { connection, transports } = setup();
  connection.start();
  transports[0]?.emit('open', undefined);
  transports[0]?.lose(lossOf(code));
  expect(connection.state).toMatchObject({ kind: 'reconnecting', loss });
});

test('a server that says what happened is asked at once', async () => {
  for (const [loss, answer, state] of [
    ['sessionEnded', 'ended', { kind: 'ended', cause: 'sessionEnded' }],
    ['signedOut', 'signedOut', { kind: 'ended', cause: 'signedOut' }],
    // Signed in again in another tab.
    ['signedOut', 'running', { kind: 'connected' }],
    ['serverRestarting', 'running', { kind: 'connected' }],
  ] as const) {
    const { connection, transports, probe } = setup();
    probe.mockResolvedValue(answer);
    connection.start();
    transports[0]?.emit('open', undefined);
    transports[0]?.lose(loss);
    await vi.advanceTimersByTimeAsync(0);
    transports[1]?.emit('open', undefined);
    expect(connection.state, loss).toEqual(state);
  }
});

test('a server that stays away is waited for, and the page still knows that it is being restarted', async () => {
  const { connection, transports, probe } = setup();
  probe.mockResolvedValue('unreachable');
  connection.start();
  transports[0]?.emit('open', undefined);
  transports[0]?.lose('serverRestarting');
  await vi.advanceTimersByTimeAsync(0);
  expect(probe).toHaveBeenCalledTimes(1);
  expect(connection.state).toMatchObject({ kind: 'reconnecting', loss: 'serverRestarting', failures: 1 });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(probe.mock.calls.length).toBeLessThan(30);
  expect(connection.state).toMatchObject({ loss: 'serverRestarting' });
});

test('a server that answers and is restarted again and again is not hammered', async () => {
  const { connection, transports } = setup();
  connection.start();
  for (let i = 0; i < 10; i++) {
    transports.at(-1)?.lose('serverRestarting');
    await vi.advanceTimersByTimeAsync(400);
  }
  expect(transports.length).toBeLessThan(6);
});

function setup() {
  const transports: FakeTransport[] = [];
  const seen: ConnectionState[] = [];
  const lost: Transport[] = [];
  const sizes: unknown[] = [];
  const probe = vi.fn<() => Promise<Probe>>().mockResolvedValue('running');
  const connection = new Connection({
    makeTransport: () => {
      const transport = new FakeTransport();
      transports.push(transport);
      return transport;
    },
    probe,
    onState: (state) => seen.push(state),
    onSize: (size) => sizes.push(size),
    onExact: () => undefined,
    onChosen: () => undefined,
    onClipboard: () => undefined,
    onLost: (transport) => lost.push(transport),
  });
  return { connection, transports, probe, lost, sizes, states: () => seen.map(({ kind }) => kind) };
}
