import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TransportError } from '../../src/errors.js';
import { growPipe } from '../../src/host/system-calls.js';
import { PipeSource } from '../../src/transport/pipe-source.js';

let folder: string;
let made = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-pipe-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** A real pipe: the descriptor to read, and the file to write. */
async function makePipe(): Promise<{ fd: number; writer: FileHandle; path: string }> {
  const path = join(folder, String(made++));
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { fd, writer: await open(path, 'w'), path };
}

async function fill(writer: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; at += 100_000) await writer.writeFile(bytes.subarray(at, at + 100_000));
  await writer.close();
}

const contents = Buffer.from(Uint32Array.from({ length: 1 << 20 }, (_, index) => index).buffer);

describe('a pipe', () => {
  it('gives all that is written to it, to a reader that takes its time, in few buffers', async () => {
    const { fd, writer } = await makePipe();
    await growPipe(fd, 1 << 20);
    const writing = fill(writer, contents);
    const seen: Buffer[] = [];
    const memories = new Set<ArrayBufferLike>();
    for await (const piece of new PipeSource(fd, 'the writer')) {
      await new Promise(setImmediate);
      memories.add(piece.buffer);
      seen.push(Buffer.from(piece));
    }
    await writing;
    expect(Buffer.concat(seen)).toBeBytes(contents);
    expect(memories.size).toBeLessThanOrEqual(4);
  });

  it('whose reader leaves early lets its writer end', async () => {
    const { fd, writer } = await makePipe();
    const writing = fill(writer, contents);
    const reader = new PipeSource(fd, 'the writer')[Symbol.asyncIterator]();
    expect(await reader.next()).toMatchObject({ done: false });
    await reader.return(undefined);
    await writing;
  });

  it('that is empty gives nothing', async () => {
    const { fd, writer } = await makePipe();
    await writer.close();
    expect(await new PipeSource(fd, 'the writer')[Symbol.asyncIterator]().next()).toMatchObject({
      done: true,
    });
  });

  it('that breaks is an error that names its writer', async () => {
    const { fd, writer, path } = await makePipe();
    // reading fails at the end that is written
    const wrongEnd = openSync(path, 'w');
    const reading = new PipeSource(wrongEnd, 'the writer')[Symbol.asyncIterator]().next();
    await expect(reading).rejects.toThrow(TransportError);
    await expect(reading).rejects.toThrow(/^reading from the writer failed: read E/);
    closeSync(fd);
    await writer.close();
  });
});
