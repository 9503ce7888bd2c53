// An agent of the picture stream that has no session: it answers every pressed key with a small tile, at once, and draws
// whole screens when told to. For measuring the browser's side alone.

import { WebSocketServer } from 'ws';

const WIDTH = 1920;
const HEIGHT = 1080;
const SMALL = { x: 900, y: 500, width: 128, height: 64 };

export class FakeAgent {
  #socket = null;
  #seq = 0;
  #input = 0;
  #waiting = new Map();

  constructor(server) {
    new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket, request) => {
      request.socket.setNoDelay(true);
      this.#socket = socket;
      this.#seq = 0;
      this.#input = 0;
      socket.on('message', (data) => this.#take(data));
    });
  }

  /** Draws `tiles` as one update; gives the milliseconds the page says it took. */
  async draw(tiles) {
    const seq = this.#update(tiles.map(({ rect, data }) => tile(rect, 1, data)));
    return new Promise((resolve) => this.#waiting.set(seq, resolve));
  }

  #take(data) {
    switch (data[0]) {
      case 0x41:
        this.#send([Buffer.of(1), Buffer.from(JSON.stringify({ version: 1, width: WIDTH, height: HEIGHT, videoEncoder: null, webrtc: false }))]);
        this.#update([Buffer.concat([Buffer.of(1), u16(WIDTH), u16(HEIGHT)]), fill({ x: 0, y: 0, width: WIDTH, height: HEIGHT })]);
        break;
      case 0x42: {
        const seq = data.readUInt32LE(1);
        this.#waiting.get(seq)?.(data.readUInt32LE(5) / 1000);
        this.#waiting.delete(seq);
        break;
      }
      case 0x43:
        this.#events(data);
        break;
    }
  }

  #events(data) {
    const lengths = { 1: 4, 2: 6, 3: 8, 4: 6, 5: 0 };
    for (let at = 3; at < data.length; ) {
      this.#input = data.readUInt32LE(at);
      const kind = data[at + 8];
      const pressed = kind === 4 && data[at + 14] === 1;
      if (pressed) this.#update([tile(SMALL, 0, Buffer.alloc(SMALL.width * SMALL.height * 3, (this.#input * 37) % 256))]);
      at += 9 + lengths[kind];
    }
  }

  #update(ops) {
    this.#seq++;
    this.#send([Buffer.of(2, 1), u16(ops.length), u32(this.#seq), u32(0), u32(this.#input), ...ops]);
    return this.#seq;
  }

  #send(parts) {
    this.#socket.send(Buffer.concat(parts));
  }
}

const u16 = (value) => Buffer.of(value & 255, value >> 8);

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

const rectangle = ({ x, y, width, height }) => Buffer.concat([x, y, width, height].map(u16));
const fill = (rect) => Buffer.concat([Buffer.of(2), rectangle(rect), Buffer.of(60, 60, 60)]);
const tile = (rect, codec, data) => Buffer.concat([Buffer.of(3), rectangle(rect), Buffer.of(codec), u32(0xffff_ffff), u32(data.length), data]);
