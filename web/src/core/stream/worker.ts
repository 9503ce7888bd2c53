// The engine in a worker: commands come as messages, events go as messages.

import { type EngineCommand, StreamEngine } from './engine';

const scope = self as unknown as {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent<EngineCommand>) => void): void;
};

const engine = new StreamEngine((event, transfer = []) => scope.postMessage(event, transfer));
scope.addEventListener('message', ({ data }) => engine.take(data));
