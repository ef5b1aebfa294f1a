import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough, Readable, Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { TransportError } from '../../src/errors.js';
import { sinkFrom, sourceFrom } from '../../src/transport/stream-channel.js';

/** A stream that takes bytes and never calls back, as a channel whose far side is gone. */
function silentWritable(): Writable {
  return new Writable({ write: () => undefined });
}

describe('a stream as a sink', () => {
  it('is done with a piece when the stream is', async () => {
    const seen: string[] = [];
    let release: (() => void) | undefined;
    const writable = new Writable({
      write: (piece: Buffer, _encoding, done) => {
        seen.push(piece.toString());
        release = done;
      },
    });
    const sink = sinkFrom(writable, 'it');
    let resolved = false;
    const written = sink.write(Buffer.from('a')).then(() => (resolved = true));
    await new Promise(setImmediate);
    expect(resolved).toBe(false);
    release?.();
    await written;
    await sink.end();
    await sink.end();
    expect(seen).toEqual(['a']);
  });

  it.each([
    ['closes', (stream: Writable) => stream.destroy()],
    ['fails', (stream: Writable) => stream.destroy(new Error('EPIPE: broken pipe, write'))],
  ])('rejects a write that waits when the stream %s', async (_how, stop) => {
    const stream = silentWritable();
    const sink = sinkFrom(stream, 'the far side');
    const written = sink.write(Buffer.from('a'));
    stop(stream);
    await expect(written).rejects.toThrow(TransportError);
    await expect(sink.write(Buffer.from('b'))).rejects.toThrow(/the far side accepts no more data/);
    await expect(sink.end()).rejects.toBeInstanceOf(TransportError);
  });

  it('rejects what waits when it is told that no one reads', async () => {
    const sink = sinkFrom(silentWritable(), 'it');
    const written = sink.write(Buffer.from('a'));
    const reason = new TransportError('gone');
    sink.break(reason);
    await expect(written).rejects.toBe(reason);
    await expect(sink.write(Buffer.from('b'))).rejects.toBe(reason);
  });

  it('rejects when a real process ends without reading its pipe', async () => {
    const child = spawn('/bin/sh', ['-c', 'exit 0'], { stdio: ['pipe', 'ignore', 'ignore'] });
    const sink = sinkFrom(child.stdin, 'it');
    const flood = async (): Promise<void> => {
      for (;;) await sink.write(Buffer.alloc(1 << 20));
    };
    await expect(flood()).rejects.toBeInstanceOf(TransportError);
  });

  it('refuses a stream that was over before', async () => {
    const stream = new PassThrough();
    stream.resume().end();
    await once(stream, 'close');
    await expect(sinkFrom(stream, 'it').write(Buffer.from('a'))).rejects.toBeInstanceOf(TransportError);
  });
});

describe('a stream as a source', () => {
  it('gives all bytes and ends', async () => {
    const pieces: Uint8Array[] = [];
    for await (const piece of sourceFrom(Readable.from([Buffer.from('ab'), Buffer.from('c')]), 'it')) {
      pieces.push(piece);
    }
    expect(Buffer.concat(pieces).toString()).toBe('abc');
  });

  it.each([
    [
      'an error',
      (stream: PassThrough) => stream.destroy(new Error('EIO: i/o error, read')),
      /EIO: i\/o error$/,
    ],
    ['a close', (stream: PassThrough) => stream.destroy(), /closed too early/],
  ])('throws on %s, also one from before the first read', async (_what, stop, message) => {
    for (const early of [true, false]) {
      const stream = new PassThrough();
      const reader = sourceFrom(stream, 'it')[Symbol.asyncIterator]();
      if (early) {
        stop(stream);
        await new Promise((resolve) => stream.once('close', resolve));
      }
      const read = reader.next();
      if (!early) stop(stream);
      await expect(read).rejects.toThrow(TransportError);
      await expect(read).rejects.toThrow(message);
    }
  });

  it('holds its writer back while no one reads', async () => {
    const stream = new PassThrough({ highWaterMark: 1024 });
    const reader = sourceFrom(stream, 'it')[Symbol.asyncIterator]();
    while (stream.write(Buffer.alloc(512)));
    await new Promise(setImmediate);
    expect(stream.writableNeedDrain).toBe(true);
    await reader.next();
    await once(stream, 'drain');
    expect(stream.writableNeedDrain).toBe(false);
  });

  it('lets its writer end when the reader leaves early', async () => {
    const stream = new PassThrough({ highWaterMark: 1024 });
    stream.write(Buffer.alloc(4096));
    const reader = sourceFrom(stream, 'it')[Symbol.asyncIterator]();
    expect(await reader.next()).toMatchObject({ done: false });
    await reader.return?.();
    stream.end(Buffer.alloc(4096));
    await once(stream, 'end');
  });

  it('checks at the end whether it was complete', async () => {
    const reader = sourceFrom(Readable.from([]), 'it', () => {
      throw new TransportError('the line broke');
    })[Symbol.asyncIterator]();
    await expect(reader.next()).rejects.toThrow('the line broke');
  });
});
