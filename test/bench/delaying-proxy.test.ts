import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { startDelayingProxy } from './delaying-proxy.js';

const DELAY_MS = 40;

/** A client that reaches, by a proxy, a server that sends back what it gets. Both ends of the whole connection. */
async function withProxy(work: (client: Socket, far: Socket) => Promise<void>): Promise<void> {
  const server: Server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const arrival = once(server, 'connection') as Promise<[Socket]>;
  const proxy = await startDelayingProxy((server.address() as AddressInfo).port, DELAY_MS);
  const client = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
  try {
    const [far] = await arrival;
    await work(client, far);
  } finally {
    client.destroy();
    proxy.stop();
    server.close();
  }
}

it('delays each direction, and passes on every byte and the end', async () => {
  await withProxy(async (client) => {
    const started = performance.now();
    const bytes = Buffer.alloc(8 * 2 ** 20, 'the same bytes, in their order. ');
    client.end(bytes);
    const pieces: Buffer[] = [];
    client.on('data', (piece: Buffer) => pieces.push(piece));
    await once(client, 'data');
    // timers may be a little early
    expect(performance.now() - started).toBeGreaterThanOrEqual(2 * DELAY_MS - 5);
    await once(client, 'end');
    expect(Buffer.concat(pieces)).toBeBytes(bytes);
  });
});

it('cuts one side where the other is cut', async () => {
  await withProxy(async (client, far) => {
    const ended = once(client.resume(), 'end');
    far.resetAndDestroy();
    await ended;
    expect(client.bytesRead).toBe(0);
  });
});
