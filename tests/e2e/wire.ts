// The network between browser and server, which stories can cut, or let forget its connections without a word.

import { createServer, connect, type Server, type Socket } from 'node:net';

export class Wire {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  /** Sockets of which nothing comes through any more, neither bytes nor their end. */
  readonly #held = new Set<Socket>();
  #cut = false;
  #refused: RegExp | null = null;

  private constructor(server: Server, port: number, sockets: Set<Socket>) {
    this.url = `http://127.0.0.1:${port}`;
    this.#server = server;
    this.#sockets = sockets;
  }

  /** A port of its own that leads to `target`. */
  static async to(target: string): Promise<Wire> {
    const { hostname, port } = new URL(target);
    const sockets = new Set<Socket>();
    let wire: Wire | null = null;
    const server = createServer((near) => {
      if (wire !== null && wire.#cut) return near.destroy();
      const refused = wire === null ? null : wire.#refused;
      if (refused) near.once('data', (request) => refused.test(request.toString('latin1')) && near.destroy());
      const far = connect(Number(port), hostname);
      for (const [socket, other] of [[near, far], [far, near]] as const) {
        sockets.add(socket);
        const end = () => wire !== null && wire.#held.has(socket) ? undefined : other.destroy();
        socket.on('error', end);
        socket.on('close', () => {
          sockets.delete(socket);
          end();
        });
      }
      near.pipe(far).pipe(near);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    wire = new Wire(server, address.port, sockets);
    return wire;
  }

  /** Every connection breaks, new ones are refused. */
  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /**
   * Every connection there is carries nothing any more, and nobody is told: as a router does that has forgotten them. New
   * ones pass.
   */
  hold(): void {
    for (const socket of this.#sockets) {
      this.#held.add(socket);
      socket.unpipe();
      socket.pause();
    }
  }

  /** New connections whose first request is such a one break off, as at a proxy that knows nothing of it. */
  refuse(request: RegExp): void {
    this.#refused = request;
  }

  mend(): void {
    this.#cut = false;
    this.#refused = null;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
