import { describe, expect, it } from 'vitest';
import type { ByteSource } from '../../src/bytes/byte-channel.js';
import { interruptible } from '../../src/host/interruption.js';
import { sourceOf } from '../support/streams.js';

async function collect(source: ByteSource): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of source) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

describe('an interruptible source', () => {
  it('gives the same bytes as the source inside', async () => {
    const bytes = Buffer.from('piece by piece');
    const source = interruptible(sourceOf(bytes, 4), new AbortController().signal);
    expect(await collect(source)).toBeBytes(bytes);
  });

  it('ends with the reason as soon as it is interrupted, also while nothing comes', async () => {
    const { signal, abort } = interruption();
    const never: ByteSource = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
    };
    const collecting = collect(interruptible(never, signal));
    abort(new Error('SIGTERM'));
    await expect(collecting).rejects.toThrow('SIGTERM');
  });

  it('gives no more pieces after an interruption between two', async () => {
    const { signal, abort } = interruption();
    const pieces = interruptible(sourceOf(Buffer.alloc(8), 4), signal)[Symbol.asyncIterator]();
    expect(await pieces.next()).toMatchObject({ done: false });
    abort(new Error('SIGTERM'));
    await expect(pieces.next()).rejects.toThrow('SIGTERM');
  });

  it('passes on what the source throws', async () => {
    const broken: ByteSource = {
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('EIO')) }),
    };
    await expect(collect(interruptible(broken, new AbortController().signal))).rejects.toThrow('EIO');
  });
});

function interruption() {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    abort: (reason: Error) => {
      controller.abort(reason);
    },
  };
}
