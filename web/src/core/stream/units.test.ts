import { expect, test, vi } from 'vitest';

import { ringMemory } from './ring';
import type { RtpUnit } from './rtp';
import { unitsFromPort, unitsFromRing, unitWriter } from './units';

test.each<[string, () => { source: ReturnType<typeof unitsFromPort>; write: (unit: RtpUnit) => void }]>([
  [
    'a ring',
    () => {
      const ring = ringMemory(64);
      return { source: unitsFromRing(ring), write: unitWriter({ ring }) };
    },
  ],
  [
    'messages',
    () => {
      const { port1, port2: port } = new MessageChannel();
      return { source: unitsFromPort(port1), write: unitWriter({ port }) };
    },
  ],
])('access units come by %s in their order, also those from before somebody listened', async (_, way) => {
  const { source, write } = way();
  write({ timestamp: 0xffff_fff0, data: new Uint8Array(300).fill(1).buffer });
  const heard: [number, number[]][] = [];
  const before = performance.timeOrigin + performance.now() - 1_000;
  source.listen(({ timestamp, data }, arrived) => {
    heard.push([timestamp, [data.byteLength, new Uint8Array(data)[0] ?? 0]]);
    expect(arrived).toBeGreaterThan(before);
  });
  write({ timestamp: 5, data: Uint8Array.of(2).buffer });
  await vi.waitFor(() => expect(heard).toEqual([[0xffff_fff0, [300, 1]], [5, [1, 2]]]));
  source.close();
  write({ timestamp: 6, data: Uint8Array.of(3).buffer });
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(heard).toHaveLength(2);
});
