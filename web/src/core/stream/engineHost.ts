// Starts a connection's engine, which is loaded when the first one is wanted.
//
// It runs in the page. In a worker, on an OffscreenCanvas, small changes came 1 to 2 ms later to the glass (Chromium, software
// drawing), and large ones no sooner: what takes long, decoding video, is done on threads of the browser's in either.

import type { EngineCommand, EngineEvent } from './engine';

export interface EngineHost {
  tell(command: EngineCommand): void;
  stop(): void;
}

/** Starts an engine that draws on `canvas`. Events come from the next task on. */
export async function startEngine(
  start: Omit<Extract<EngineCommand, { command: 'start' }>, 'command'>,
  onEvent: (event: EngineEvent) => void,
): Promise<EngineHost> {
  const { StreamEngine } = await import('./engine');
  const engine = new StreamEngine(onEvent);
  engine.take({ command: 'start', ...start });
  return { tell: (command) => engine.take(command), stop: () => engine.take({ command: 'stop' }) };
}
