// The least RFB 3.8 client that can press, paint and see that something changed (RFC 6143). Over a WebSocket.

import WebSocket from 'ws';

export class Rfb {
  #chunks = [];
  #length = 0;
  #wake = () => {};
  #closed = false;

  static async connect(url, token) {
    const socket = new WebSocket(url, ['binary'], { headers: { authorization: `Bearer ${token}`, origin: url.replace(/^ws/, 'http').replace(/\/session.*/, '') } });
    const rfb = new Rfb(socket);
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    await rfb.#handshake();
    return rfb;
  }

  constructor(socket) {
    this.socket = socket;
    socket.on('message', (data) => {
      this.#chunks.push(data);
      this.#length += data.length;
      this.#wake();
    });
    socket.on('close', () => {
      this.#closed = true;
      this.#wake();
    });
  }

  async #read(length) {
    while (this.#length < length) {
      if (this.#closed) throw new Error('connection closed');
      await new Promise((resolve) => (this.#wake = resolve));
    }
    let all = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    this.#chunks = length < all.length ? [all.subarray(length)] : [];
    this.#length = all.length - length;
    return all.subarray(0, length);
  }

  async #handshake() {
    this.socket.send(await this.#read(12));
    await this.#read((await this.#read(1))[0]);
    this.socket.send(Buffer.from([1]));
    if ((await this.#read(4)).readUInt32BE() !== 0) throw new Error('refused');
    this.socket.send(Buffer.from([1]));
    const init = await this.#read(24);
    this.width = init.readUInt16BE(0);
    this.height = init.readUInt16BE(2);
    await this.#read(init.readUInt32BE(20));
    this.socket.send(Buffer.from([2, 0, 0, 1, 0, 0, 0, 0])); // SetEncodings: raw
  }

  request(incremental) {
    const message = Buffer.alloc(10);
    message[0] = 3;
    message[1] = incremental ? 1 : 0;
    message.writeUInt16BE(this.width, 6);
    message.writeUInt16BE(this.height, 8);
    this.socket.send(message);
  }

  pointer(x, y, buttons) {
    const message = Buffer.alloc(6);
    message[0] = 5;
    message[1] = buttons;
    message.writeUInt16BE(x, 2);
    message.writeUInt16BE(y, 4);
    this.socket.send(message);
  }

  key(keysym, down) {
    const message = Buffer.alloc(8);
    message[0] = 4;
    message[1] = down ? 1 : 0;
    message.writeUInt32BE(keysym, 4);
    this.socket.send(message);
  }

  /** Waits for the next framebuffer update; returns its pixel count. */
  async update() {
    for (;;) {
      const type = (await this.#read(1))[0];
      if (type === 0) {
        const count = (await this.#read(3)).readUInt16BE(1);
        let pixels = 0;
        for (let i = 0; i < count; i++) {
          const head = await this.#read(12);
          const area = head.readUInt16BE(4) * head.readUInt16BE(6);
          await this.#read(area * 4);
          pixels += area;
        }
        return pixels;
      } else if (type === 1) {
        const head = await this.#read(5);
        await this.#read(head.readUInt16BE(3) * 6);
      } else if (type === 3) {
        const head = await this.#read(7);
        await this.#read(Math.abs(head.readInt32BE(3)));
      } else if (type !== 2) throw new Error(`unknown RFB message ${type}`);
    }
  }

  close() {
    this.socket.close();
  }
}
