// How what a page shows was sent. Every update comes through the stream's WebSocket, also where RTP brings its video.

/** Milliseconds for which the page remembers updates. */
const REMEMBERED = 2000;

/** From the page's next load on it has `sentAs`, see below; without the picture stream nothing was sent. */
export const listenToUpdates = (page) => page.addInitScript(listen, REMEMBERED);

// In the page. Reads what crates/protocol/src/stream/wire.rs writes.
function listen(remembered) {
  const UPDATE = 2;
  let updates = [];
  const took = (buffer) => {
    const view = new DataView(buffer);
    let at = 0;
    const u8 = () => view.getUint8(at++);
    const u16 = () => view.getUint16((at += 2) - 2, true);
    const u32 = () => view.getUint32((at += 4) - 4, true);
    const rect = () => ({ x: u16(), y: u16(), width: u16(), height: u16() });
    const skip = (bytes) => (at += bytes);
    const operations = {
      1: () => skip(4) && [],
      2: () => [{ as: 'fill', ...rect() }, skip(3)],
      3: () => [{ as: 'tile', ...rect() }, skip(5) && skip(u32())],
      4: () => [{ as: 'cached', ...rect() }, skip(4)],
      5: () => [{ as: 'copy', ...rect(), x: u16(), y: u16() }],
      6: () => {
        skip(2);
        const rects = Array.from({ length: u16() }, rect);
        if (u8() === 0) skip(u32());
        else skip(4);
        return rects.map((rect) => ({ as: 'video', ...rect }));
      },
    };
    if (u8() !== UPDATE) return;
    skip(1);
    const count = u16();
    skip(12);
    const now = performance.now();
    const areas = Array.from({ length: count }, () => operations[u8()]()).flat().filter((area) => area.as);
    updates = [...updates.filter(({ time }) => time > now - remembered), { time: now, areas }];
  };
  // Without, the page has the stream's WebSocket itself, and not in a worker where nobody listens.
  delete Atomics.waitAsync;
  // Not a subclass: noVNC looks for the methods on the object's own prototype.
  window.WebSocket = new Proxy(WebSocket, {
    construct(target, [url, protocols]) {
      const socket = new target(url, protocols);
      if (/\/stream$/.test(url)) socket.addEventListener('message', ({ data }) => took(data));
      return socket;
    },
  });
  /** In how many updates of the last milliseconds something of a rectangle was drawn as `video`, `tile`, `copy` ... */
  window.sentAs = ({ x, y, width, height }, milliseconds) => {
    const within = (area) => area.x < x + width && x < area.x + area.width && area.y < y + height && y < area.y + area.height;
    const found = {};
    for (const { areas } of updates.filter(({ time }) => time > performance.now() - milliseconds)) {
      for (const as of new Set(areas.filter(within).map(({ as }) => as))) found[as] = (found[as] ?? 0) + 1;
    }
    return found;
  };
}
