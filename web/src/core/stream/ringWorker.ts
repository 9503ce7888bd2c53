// Has the stream's WebSocket, and writes what comes into a ring that the page reads: see `ring.ts` for why. Ends itself when
// the page has closed the WebSocket; else the page ends it.

import { RingWriter } from './ring';
import { RECORD, type ToRingWorker } from './ringRecords';
import { PlainSocket } from './socket';

const scope = self as unknown as {
  addEventListener(type: 'message', listener: (event: MessageEvent<ToRingWorker>) => void): void;
  close(): void;
};

const NOTHING = new Uint8Array();

let socket: PlainSocket | null = null;
let leaving = false;

scope.addEventListener('message', ({ data }) => {
  if (data instanceof Uint8Array) socket?.send(data);
  else if ('url' in data) {
    const ring = new RingWriter(data.memory);
    ring.write(RECORD.started, NOTHING);
    socket = new PlainSocket(data.url, {
      opened: () => ring.write(RECORD.opened, NOTHING),
      message: (message) => (message ? ring.write(RECORD.message, new Uint8Array(message)) : ring.write(RECORD.text, NOTHING)),
      closed: (code) => {
        if (leaving) scope.close();
        else ring.write(code, NOTHING);
      },
    });
  } else {
    leaving = true;
    socket?.close(data.close);
  }
});
