// Where a connection's engine runs: in the page, or in a worker of its own. By bench/stream.mjs neither is quicker, neither
// for a key nor for a whole screen; the page spares two hops and its canvas can be read.

import type { EngineCommand, EngineEvent } from './engine';

export type EnginePlace = 'page' | 'worker';

export interface EngineHost {
  tell(command: EngineCommand, transfer?: Transferable[]): void;
  /** Nothing is told from then on. */
  stop(): void;
}

/** Starts an engine that draws on `canvas`, which is its own from then on. Events come from the next task on. */
export async function startEngine(
  place: EnginePlace,
  start: Omit<Extract<EngineCommand, { command: 'start' }>, 'command'> & { canvas: HTMLCanvasElement },
  onEvent: (event: EngineEvent) => void,
): Promise<EngineHost> {
  return place === 'worker' ? inWorker(start, onEvent) : inPage(start, onEvent);
}

type Start = Parameters<typeof startEngine>[1];

async function inPage(start: Start, onEvent: (event: EngineEvent) => void): Promise<EngineHost> {
  const { StreamEngine } = await import('./engine');
  const engine = new StreamEngine(onEvent);
  engine.take({ command: 'start', ...start });
  return { tell: (command) => engine.take(command), stop: () => engine.take({ command: 'stop' }) };
}

function inWorker(start: Start, onEvent: (event: EngineEvent) => void): EngineHost {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  worker.addEventListener('message', ({ data }: MessageEvent<EngineEvent>) => onEvent(data));
  worker.addEventListener('error', () => onEvent({ event: 'closed', code: 1006 }));
  const canvas = start.canvas.transferControlToOffscreen();
  const command: EngineCommand = { command: 'start', ...start, canvas };
  worker.postMessage(command, [canvas]);
  return { tell: (next, transfer = []) => worker.postMessage(next, transfer), stop: () => worker.terminate() };
}
