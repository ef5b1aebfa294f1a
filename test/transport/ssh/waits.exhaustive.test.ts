import { createHash } from 'node:crypto';
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { hostKey, SshPlace } from '../../support/ssh-place.js';

let place: SshPlace;
afterEach(() => place.close());

async function digestOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of source) hash.update(piece);
  return hash.digest('hex');
}

describe('a command over ssh', () => {
  it('whose line goes silent is given up after a few unanswered keepalives', async () => {
    place = await SshPlace.open();
    const wires: Socket[] = [];
    const proxy = createServer((near) => {
      const far = createConnection(place.server.port, '127.0.0.1');
      wires.push(near, far);
      near.pipe(far).pipe(near);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const { port } = proxy.address() as AddressInfo;
    await place.knowHost(hostKey, '', port);
    place.settings = { ...place.settings, keepaliveIntervalMs: 200 };

    const transport = await place.connect(['cat'], port);
    const broken = digestOf(transport.input).catch(String);
    // Answered probes keep an idle line alive for much longer than unanswered ones would.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await transport.output.write(Buffer.from('still there'));
    for (const wire of wires) wire.unpipe().pause();
    expect(await broken).toContain('no sign of life');
    expect(await transport.exit).toMatchObject({
      status: null,
      problem: expect.stringMatching('no sign of life') as string,
    });
    for (const wire of wires) wire.destroy();
    proxy.close();
  });

  it('that is busy counts as alive, however long the answers to our keepalives take', async () => {
    place = await SshPlace.open();
    const wires: Socket[] = [];
    const proxy = createServer((near) => {
      const far = createConnection(place.server.port, '127.0.0.1');
      wires.push(near, far);
      far.pipe(near);
      // slow upwards: what asks for a sign of life waits behind megabytes
      near.on('data', (piece) => {
        near.pause();
        far.write(piece);
        setTimeout(() => near.resume(), 40);
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const { port } = proxy.address() as AddressInfo;
    await place.knowHost(hostKey, '', port);
    place.configLines.push('serveralivecountmax 2');
    place.settings = { ...place.settings, keepaliveIntervalMs: 600 };

    const transport = await place.connect(['sh', '-c', 'cat >/dev/null'], port);
    for (let count = 0; count < 4; count++) await transport.output.write(Buffer.alloc(1 << 20));
    await transport.output.end();
    expect(await transport.exit).toEqual({ status: 0, signal: null });
    for (const wire of wires) wire.destroy();
    proxy.close();
  });
});

describe('a password', () => {
  it('may take longer to type than the time limit of connecting', async () => {
    place = await SshPlace.open({
      authenticate: (context) => {
        if (context.method === 'password' && context.password === 'sesame') context.accept();
        else context.reject(['password']);
      },
    });
    const prompter = { ask: () => sleep(4000, 'sesame') };
    place.settings = { ...place.settings, connectTimeoutMs: 3000, prompter };
    const transport = await place.connect(['true']);
    expect(await transport.exit).toMatchObject({ status: 0 });
  });
});
