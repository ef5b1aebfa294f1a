import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CommandError, TransportError } from '../../src/errors.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { startRsh } from '../../src/transport/rsh.js';
import type { RemoteHost } from '../../src/transport/target-spec.js';
import type { Transport } from '../../src/transport/transport.js';

const FAKE_RSH = fileURLToPath(new URL('../support/fake-rsh.sh', import.meta.url));
const HOST: RemoteHost = { user: null, host: 'web1', port: null };

async function start(
  command: string[],
  { destination = HOST, log = '' } = {},
): Promise<{ transport: Transport; stderr: string[] }> {
  const stderr: string[] = [];
  const spawner = new ProcessSpawner({ ...process.env, FAKE_RSH_LOG: log });
  const transport = await startRsh(spawner, [FAKE_RSH], {
    ...{ destination, command, onStderrLine: (line) => stderr.push(line) },
  });
  return { transport, stderr };
}

async function readAll(transport: Transport): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of transport.input) pieces.push(piece);
  return Buffer.concat(pieces);
}

describe('a remote shell', () => {
  it('carries bytes both ways, half-closed, with exit status and stderr', async () => {
    const { transport, stderr } = await start(['sh', '-c', 'cat; echo done >&2; exit 3']);
    const bytes = Buffer.alloc(3_000_000, 'lvmsync');
    const reading = readAll(transport);
    await transport.output.write(bytes);
    await transport.output.end();
    expect(await reading).toBeBytes(bytes);
    expect(await transport.exit).toEqual({ status: 3, signal: null });
    expect(stderr).toEqual(['done']);
  });

  it('gets the words of the command unharmed', async () => {
    const words = ['a b', "it's", '$(echo run)', '\\', 'ü\n', ''];
    const { transport } = await start(['printf', '%s\\0', ...words]);
    expect((await readAll(transport)).toString().split('\0').slice(0, -1)).toEqual(words);
  });

  it.each([
    [HOST, ['web1']],
    [{ user: 'u', host: '::1', port: 2222 }, ['-p', '2222', 'u@::1']],
  ])('is started with its words, the host, and one string: %o', async (destination, words) => {
    const folder = await mkdtemp(join(tmpdir(), 'lvmsync-rsh-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const log = join(folder, 'words');
    const { transport } = await start(['true', 'a b'], { destination, log });
    await transport.exit;
    expect(await readFile(log, 'utf8')).toBe([...words, "'true' 'a b'", ''].join('\n'));
  });

  it('rejects writes to a far side that ended without reading', async () => {
    const { transport } = await start(['sh', '-c', 'exit 4']);
    const flood = async (): Promise<void> => {
      for (;;) await transport.output.write(Buffer.alloc(1 << 20));
    };
    await expect(flood()).rejects.toThrow(/web1 accepts no more data/);
    expect(await transport.exit).toEqual({ status: 4, signal: null });
  });

  it('shows a far command that is missing as the shell does', async () => {
    const { transport, stderr } = await start(['/nowhere/lvmsync', 'receive']);
    expect((await transport.exit).status).toBe(127);
    expect(stderr.join()).toContain('/nowhere/lvmsync');
  });

  it('that is not installed is an error of this host', async () => {
    const spawner = new ProcessSpawner(process.env);
    const starting = startRsh(spawner, ['/nowhere/ssh', '-C'], {
      ...{ destination: HOST, command: ['true'], onStderrLine: () => undefined },
    });
    await expect(starting).rejects.toThrow(CommandError);
    await expect(starting).rejects.toThrow(/^\/nowhere\/ssh -C: .*not installed/);
  });

  it('is killed when the line is cut, and says so to the reader', async () => {
    const { transport } = await start(['cat']);
    const reading = readAll(transport);
    const cut = [transport.destroy(), transport.destroy()];
    await expect(reading).rejects.toBeInstanceOf(TransportError);
    const writing = transport.output.write(Buffer.from('x')).then(() => transport.output.end());
    await expect(writing).rejects.toBeInstanceOf(TransportError);
    await Promise.all(cut);
    expect(await transport.exit).toEqual({ status: null, signal: 'SIGTERM' });
  });

  it('that ignores SIGTERM is killed all the same, and is gone then', async () => {
    const stderr: string[] = [];
    const deaf = 'trap "" TERM; echo $$ >&2; while :; do sleep 0.1; done';
    const spawner = new ProcessSpawner(process.env);
    const transport = await startRsh(spawner, ['sh', '-c', deaf], {
      ...{ destination: HOST, command: [], onStderrLine: (line) => stderr.push(line) },
    });
    await expect.poll(() => stderr, { timeout: 20_000 }).toEqual([expect.stringMatching(/^\d+$/)]);
    await transport.destroy();
    expect(() => process.kill(Number(stderr[0]), 0)).toThrow('ESRCH');
    expect(await transport.exit).toEqual({ status: null, signal: 'SIGKILL' });
  });

  it('ends though a process that it left behind keeps its stderr open', async () => {
    const { transport } = await start(['sh', '-c', 'sleep 3 <&- >&- & exit 0']);
    expect(await transport.exit).toEqual({ status: 0, signal: null });
  });
});
