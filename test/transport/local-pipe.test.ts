import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FormatError, TransportError } from '../../src/errors.js';
import { createLocalPipe } from '../../src/transport/local-pipe.js';

/** Whether a promise has settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await nextTurn();
  return settled;
}

describe('a pipe inside the process', () => {
  it('lends a piece, uncopied, until the next one is asked for', async () => {
    const { sink, source } = createLocalPipe();
    const reader = source[Symbol.asyncIterator]();
    const piece = Buffer.from('first');

    const written = sink.write(piece);
    expect((await reader.next()).value).toBe(piece);
    expect(await isSettled(written)).toBe(false);

    const second = reader.next();
    await written;
    void sink.write(Buffer.from('second'));
    expect((await second).value).toBeBytes(Buffer.from('second'));
  });

  it('carries every byte in order while the writer uses the same memory again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 50 })), async (pieces) => {
        const { sink, source } = createLocalPipe();
        const write = async (): Promise<void> => {
          const memory = Buffer.alloc(50);
          for (const piece of pieces) {
            memory.set(piece);
            await sink.write(memory.subarray(0, piece.length));
            memory.fill(0xee);
          }
          await sink.end();
        };
        const read = async (): Promise<Buffer> => {
          const copies: Buffer[] = [];
          for await (const piece of source) copies.push(Buffer.from(piece));
          return Buffer.concat(copies);
        };
        const [, bytes] = await Promise.all([write(), read()]);
        expect(bytes).toBeBytes(Buffer.concat(pieces));
      }),
    );
  });

  it('ends the writer when the reader has seen the end, and stays ended', async () => {
    const { sink, source } = createLocalPipe();
    const reader = source[Symbol.asyncIterator]();
    const ended = sink.end();
    expect(await isSettled(ended)).toBe(false);
    expect((await reader.next()).done).toBe(true);
    await ended;
    expect((await reader.next()).done).toBe(true);
    await sink.end();
    await expect(sink.write(Buffer.from('late'))).rejects.toBeInstanceOf(TransportError);
  });

  it('breaks the writer when the reader leaves early, now and later', async () => {
    const { sink, source } = createLocalPipe();
    const written = sink.write(Buffer.from('a'));
    const queued = sink.write(Buffer.from('b'));
    const refusals = [written, queued].map((each) => each.catch((error: unknown) => error));
    for await (const piece of source) {
      expect(piece).toBeBytes(Buffer.from('a'));
      break;
    }
    for (const refusal of refusals) expect(await refusal).toBeInstanceOf(TransportError);
    await expect(sink.write(Buffer.from('c'))).rejects.toBeInstanceOf(TransportError);
    await expect(sink.end()).rejects.toBeInstanceOf(TransportError);
  });

  it('breaks the writer of a reader that leaves before its first read', async () => {
    const { sink, source } = createLocalPipe();
    const written = sink.write(Buffer.from('a'));
    const refusal = written.catch((error: unknown) => error);
    const reader = source[Symbol.asyncIterator]();
    await reader.return?.();
    expect(await refusal).toBeInstanceOf(TransportError);
  });

  it('that is aborted throws the reason at both ends', async () => {
    const { sink, source, abort } = createLocalPipe();
    const reason = new FormatError('x', 0, 'y', 'z');
    const reader = source[Symbol.asyncIterator]();
    const waiting = reader.next();
    abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(reader.next()).rejects.toBe(reason);
    await expect(sink.write(Buffer.from('a'))).rejects.toBe(reason);
  });
});
