import { createHash, randomBytes } from 'node:crypto';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import ssh2 from 'ssh2';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TransportError } from '../../../src/errors.js';
import { connectSsh } from '../../../src/transport/ssh/index.js';
import type { Transport } from '../../../src/transport/transport.js';
import { hostKey, SshPlace } from '../../support/ssh-place.js';

let place: SshPlace;

beforeEach(async () => {
  place = await SshPlace.open();
});
afterEach(() => place.close());

function connect(command: string[], port?: number): Promise<Transport> {
  return place.connect(command, port);
}

async function digestOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of source) hash.update(piece);
  return hash.digest('hex');
}

/** What ssh2's server keeps to itself, for playing a server that does what ssh2's never would. */
interface ServerInsides {
  readonly outgoing: { readonly id: number };
  readonly _client: {
    readonly _protocol: { channelWindowAdjust(id: number, bytes: number): void };
    readonly _sock: Socket;
  };
}

async function flood(transport: Transport): Promise<never> {
  for (;;) await transport.output.write(Buffer.alloc(1 << 20));
}

describe('a command over ssh', () => {
  it('echoes 50 MB through bounded windows, half-closed, to the last byte', async () => {
    const transport = await connect(['cat']);
    const echoed = digestOf(transport.input);
    const hash = createHash('sha256');
    const piece = randomBytes(1 << 20);
    for (let count = 0; count < 50; count++) {
      piece.writeUInt32BE(count);
      hash.update(piece);
      await transport.output.write(piece);
    }
    await transport.output.end();
    expect(await echoed).toBe(hash.digest('hex'));
    expect(await transport.exit).toEqual({ status: 0, signal: null });
  });

  it('stops taking bytes when the far side stops reading', async () => {
    const transport = await connect(['sleep', '5']);
    let taken = 0;
    const writing = (async () => {
      for (;;) {
        await transport.output.write(Buffer.alloc(1 << 20));
        taken += 1 << 20;
      }
    })();
    const refusal = writing.catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 400));
    // The channel's window and the far pipe; not one piece after the other.
    expect(taken).toBeLessThan(8 << 20);
    await transport.destroy();
    expect(await refusal).toBeInstanceOf(TransportError);
  });

  it('is not flooded, however large a window the far side grants', async () => {
    const generous = new ssh2.Server({ hostKeys: [hostKey.private] }, (connection) => {
      connection.on('authentication', (context) => {
        context.accept();
      });
      connection.on('session', (accept) => {
        accept().on('exec', (acceptExec) => {
          const channel = acceptExec() as unknown as ServerInsides;
          channel._client._protocol.channelWindowAdjust(channel.outgoing.id, 1 << 30);
          channel._client._sock.pause();
        });
      });
      connection.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => generous.listen(0, '127.0.0.1', resolve));
    const { port } = generous.address() as AddressInfo;
    await place.knowHost(hostKey, '', port);

    const transport = await connect(['cat'], port);
    let taken = 0;
    const writing = (async () => {
      for (;;) {
        await transport.output.write(Buffer.alloc(1 << 20));
        taken += 1 << 20;
      }
    })();
    const refusal = writing.catch((error: unknown) => error);
    await expect.poll(() => taken, { timeout: 20_000 }).toBeGreaterThan(1 << 20);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(taken).toBeLessThan(32 << 20);
    await transport.destroy();
    expect(await refusal).toBeInstanceOf(TransportError);
    generous.close();
  });

  it('gets its words unharmed, and gives its stderr by lines', async () => {
    const transport = await connect([
      'sh',
      '-c',
      'printf "%s|" "$@" >&2; echo; exit 9',
      '-',
      "it's",
      '$(id)',
      '',
    ]);
    expect(await digestOf(transport.input)).toBe(createHash('sha256').update('\n').digest('hex'));
    expect(await transport.exit).toEqual({ status: 9, signal: null });
    expect(place.stderr).toEqual(["it's|$(id)||"]);
    expect(transport.cipher).toMatch(/^(aes\d+-|chacha20-)/);
  });

  it('that ends without reading rejects the write that waits for it', async () => {
    const transport = await connect(['sh', '-c', 'echo no >&2; exit 5']);
    await expect(flood(transport)).rejects.toThrow(/127.0.0.1 accepts no more data/);
    expect(await transport.exit).toEqual({ status: 5, signal: null });
    expect(place.stderr).toEqual(['no']);
  });

  it('that dies of a signal says which', async () => {
    const transport = await connect(['sh', '-c', 'kill -KILL $PPID']);
    expect(await transport.exit).toEqual({ status: null, signal: 'SIGKILL' });
  });

  it('whose server dies in the middle breaks both directions', async () => {
    const transport = await connect(['sleep', '5']);
    const reading = digestOf(transport.input);
    const writing = flood(transport);
    const broken = [reading, writing].map((each) => each.catch((error: unknown) => error));
    await new Promise((resolve) => setTimeout(resolve, 100));
    place.server.cut();
    expect(await Promise.all(broken)).toEqual([
      expect.objectContaining({ message: expect.stringContaining('ssh connection broke') as string }),
      expect.any(TransportError),
    ]);
    expect(await transport.exit).toMatchObject({ status: null, problem: expect.any(String) as string });
  });

  it('has ended when it has, although no one has read its output yet', async () => {
    const transport = await connect(['sh', '-c', 'printf hello; exit 6']);
    expect(await transport.exit).toEqual({ status: 6, signal: null });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await digestOf(transport.input)).toBe(createHash('sha256').update('hello').digest('hex'));
  });

  it('that we cut sees the end of its input, and no one waits any more', async () => {
    const transport = await connect(['cat']);
    const broken = digestOf(transport.input).catch(String);
    await transport.destroy();
    await transport.destroy();
    expect(await broken).toContain('cut on this side');
    expect(await transport.exit).toMatchObject({ status: null, problem: 'it was cut on this side' });
  });
});

describe('a server that is not an ssh server', () => {
  let listening: ReturnType<typeof createServer> | undefined;

  afterEach(() => listening?.close());

  async function listen(onConnection: (socket: Socket) => void): Promise<number> {
    const opened = createServer(onConnection);
    await new Promise<void>((resolve) => opened.listen(0, '127.0.0.1', resolve));
    listening = opened;
    return (opened.address() as AddressInfo).port;
  }

  it('refuses the connection', async () => {
    // one that nobody listens at: a port that was just given back may be taken by then
    await expect(connect(['true'], 1)).rejects.toThrow(/connection refused on port \d+/);
  });

  it('takes the connection and says nothing', async () => {
    const port = await listen(() => undefined);
    place.settings = { ...place.settings, connectTimeoutMs: 200 };
    await expect(connect(['true'], port)).rejects.toThrow(/did not answer as an ssh server within 0.2 s/);
  });

  it('hangs up at once', async () => {
    const port = await listen((socket) => socket.end());
    await expect(connect(['true'], port)).rejects.toThrow(TransportError);
  });

  it('speaks another language', async () => {
    const port = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await expect(connect(['true'], port)).rejects.toThrow(TransportError);
  });

  it('has no address', async () => {
    const destination = { user: null, host: 'no-such-host.invalid', port: null };
    await expect(
      connectSsh(
        { destination, command: ['true'], onStderrLine: () => undefined },
        place.settings,
        place.env,
      ),
    ).rejects.toThrow(/no-such-host.invalid: .*host name/);
  });
});
