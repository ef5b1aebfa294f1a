import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ByteSink } from '../../src/bytes/byte-channel.js';
import { TransportError } from '../../src/errors.js';
import { GatheringSink } from '../../src/transport/gathering-sink.js';

const KIB = 1024;

/** A sink that takes a turn for each piece, and keeps what its memory holds at the end of it. */
function slowSink(failAt = Infinity): ByteSink & { pieces: Buffer[]; ended: boolean } {
  const pieces: Buffer[] = [];
  let taken = 0;
  const sink = {
    pieces,
    ended: false,
    write: async (piece: Uint8Array) => {
      await new Promise(setImmediate);
      taken += piece.length;
      if (taken > failAt) throw new TransportError('the line broke');
      pieces.push(Buffer.from(piece));
    },
    end: () => {
      sink.ended = true;
      return Promise.resolve();
    },
  };
  return sink;
}

describe('a gathering sink', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('passes on all bytes in their order, however they are cut, also when nobody waits for a write', async () => {
    const lengths = fc.array(fc.oneof(fc.nat(100), fc.nat(300 * KIB), fc.nat(1100 * KIB)), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(lengths, fc.boolean(), async (wanted, waits) => {
        const inner = slowSink();
        const sink = new GatheringSink(inner);
        const written: Buffer[] = [];
        const underWay: Promise<void>[] = [];
        for (const [index, length] of wanted.entries()) {
          const piece = Buffer.alloc(length, `${index} and so on`);
          written.push(Buffer.from(piece));
          const write = sink.write(piece);
          underWay.push(write);
          if (!waits) continue;
          await write;
          // from here on it is the caller's again
          piece.fill(0xee);
        }
        await sink.end();
        await Promise.all(underWay);
        expect(Buffer.concat(inner.pieces)).toBeBytes(Buffer.concat(written));
        expect(inner.ended).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('makes few pieces of many', async () => {
    // However slow this machine is: its patience never ends here.
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const inner = slowSink();
    const sink = new GatheringSink(inner);
    for (let frame = 0; frame < 100; frame++) {
      for (const length of [27, 64 * KIB, 4]) await sink.write(Buffer.alloc(length));
    }
    await sink.end();
    const lengths = inner.pieces.map((piece) => piece.length);
    const rest = 100 * (27 + 64 * KIB + 4) - 25 * 256 * KIB;
    expect(lengths).toEqual([...Array<number>(25).fill(256 * KIB), rest]);
  });

  it('passes a few bytes on although nothing follows', async () => {
    const inner = slowSink();
    await new GatheringSink(inner).write(Buffer.from('hello'));
    await expect.poll(() => Buffer.concat(inner.pieces).toString(), { timeout: 20_000 }).toBe('hello');
  });

  it('fails as its sink does, at a later write and at the end', async () => {
    const sink = new GatheringSink(slowSink(300 * KIB));
    const writing = (async () => {
      for (;;) await sink.write(Buffer.alloc(64 * KIB));
    })();
    await expect(writing).rejects.toThrow('the line broke');
    await expect(sink.write(Buffer.from('x'))).rejects.toThrow('the line broke');
    await expect(sink.end()).rejects.toThrow('the line broke');
  });
});
