// What page and worker say to each other about the stream's WebSocket.

import type { RingMemory } from './ring';

/** Tags of what the worker writes into the ring. From 1000 on a tag is the close code: the last record. */
export const RECORD = { started: 0, opened: 1, message: 2, text: 3 } as const;

/** What the page posts to the worker, the first of them once; bare bytes are sent. */
export type ToRingWorker = { url: string; memory: RingMemory } | { close: number | undefined } | Uint8Array<ArrayBuffer>;
