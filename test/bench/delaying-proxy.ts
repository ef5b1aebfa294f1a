import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { undoAtExit } from './workplace.js';

/** What may be on its way in one direction: more than a gigabyte a second for as long as the delay is. Bytes. */
const MOST_UNDER_WAY = 64 * 2 ** 20;

export interface Proxy {
  readonly port: number;
  stop(): void;
}

/** Relays connections to a port of this host. Each byte arrives so much later, and as many at once as come. */
export async function startDelayingProxy(port: number, delayMs: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.once('close', () => sockets.delete(socket));
    }
    relay(near, far, delayMs);
    relay(far, near, delayMs);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = undoAtExit(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, stop };
}

function relay(from: Socket, to: Socket, delayMs: number): void {
  let underWay = 0;
  from.on('data', (piece) => {
    underWay += piece.length;
    if (underWay > MOST_UNDER_WAY) from.pause();
    setTimeout(() => {
      const arrived = (): void => {
        underWay -= piece.length;
        if (underWay <= MOST_UNDER_WAY) from.resume();
      };
      if (to.destroyed) arrived();
      else to.write(piece, arrived);
    }, delayMs);
  });
  from.once('end', () => setTimeout(() => to.end(), delayMs));
  // Whatever ends one side without its end, ends the other.
  from.on('error', () => to.destroy());
  from.once('close', () => {
    setTimeout(() => {
      to.destroySoon();
    }, delayMs);
  });
}
