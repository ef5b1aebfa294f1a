import { describe, expect, it } from 'vitest';
import { TransportError } from '../../src/errors.js';
import { DirectStream } from '../../src/session/direct-stream.js';
import { BlockBatch } from '../../src/stream/batches/batch.js';
import { Lender, someHeader } from '../support/scenes/feed.js';

const SIZE = 1024 * 1024;

async function batchAt(offset: number, lender: Lender, text = 'new'): Promise<BlockBatch> {
  const memory = await lender.lend(4096);
  memory.bytes.fill(text);
  const batch = new BlockBatch(memory);
  batch.add({ kind: 'data', offset, length: 4096, start: 0, crc: 7 });
  return batch;
}

/** What a receiver reads, to the end. */
async function readAll(direct: DirectStream): Promise<string[]> {
  const { header, asks, blocks } = await direct.open();
  expect([header?.volumeSize, asks]).toEqual([SIZE, false]);
  const seen: string[] = [];
  for await (const item of blocks) {
    if (!(item instanceof BlockBatch)) {
      seen.push(
        item.kind === 'checkpoint' ? `${item.kind} ${item.frame} ${item.token.toString()}` : item.kind,
      );
      continue;
    }
    const text = item.memory === null ? '' : item.bytesAt(0).toString('latin1', 0, 3);
    seen.push(`${item.kindAt(0)} ${item.offsetAt(0)} ${text}`);
    item.release();
  }
  return seen;
}

describe('a stream within a process', () => {
  it('hands everything over in order, with the same bytes, and gives all memory back', async () => {
    const direct = new DirectStream();
    const lender = new Lender();
    const read = readAll(direct);
    await direct.start(someHeader(SIZE));
    await direct.prove({ offset: 0, length: 4096, crc: 5 });
    for (const offset of [4096, 8192]) {
      const batch = await batchAt(offset, lender);
      await direct.batch(batch);
      batch.release();
    }
    const { frameCount } = direct;
    await direct.checkpoint(Buffer.from('place'));
    await direct.nextPass();
    const again = await batchAt(0, lender, 'old');
    await direct.batch(again);
    again.release();
    await direct.heartbeat();
    const totals = await direct.finish(true);
    expect(await read).toEqual([
      '3 0 ',
      '0 4096 new',
      '0 8192 new',
      `checkpoint ${frameCount} place`,
      'next-pass',
      '0 0 old',
      'nameless',
    ]);
    expect(totals).toMatchObject({ dataBytes: 3 * 4096, zeroBytes: 0 });
    expect([direct.bytesWritten, direct.isEnding]).toEqual([3 * 4096, true]);
    expect(lender.outstanding).toBe(0);
  });

  it('keeps a sender waiting until the receiver has taken what came before', async () => {
    const direct = new DirectStream();
    await direct.start(someHeader(SIZE));
    const { blocks } = await direct.open();
    const items = blocks[Symbol.asyncIterator]();
    let isTaken = false;
    const passed = direct.nextPass().then(() => (isTaken = true));
    await new Promise(setImmediate);
    expect(isTaken).toBe(false);
    expect((await items.next()).value).toEqual({ kind: 'next-pass' });
    await passed;
    expect(isTaken).toBe(true);
  });

  it('refuses a block out of order, which would be a fault of ours', async () => {
    const direct = new DirectStream();
    const lender = new Lender();
    await direct.start(someHeader(SIZE));
    const { blocks } = await direct.open();
    const [first, before, past] = [
      await batchAt(8192, lender),
      await batchAt(4096, lender),
      await batchAt(SIZE, lender),
    ];
    const taking = blocks[Symbol.asyncIterator]().next();
    await direct.batch(first);
    await expect(direct.batch(before)).rejects.toThrow('is not after the one before it');
    await expect(direct.batch(past)).rejects.toThrow("past the volume's end");
    for (const batch of [first, before, past]) batch.release();
    const taken = await taking;
    if (taken.value instanceof BlockBatch) taken.value.release();
    expect(lender.outstanding).toBe(0);
  });

  it('that its sender gives up is cut short, before its header or after it', async () => {
    const early = new DirectStream();
    const opening = early.open();
    early.cut();
    await expect(opening).rejects.toMatchObject({ code: 'TRUNCATED' });

    const late = new DirectStream();
    await late.start(someHeader(SIZE));
    const read = readAll(late);
    await late.nextPass();
    late.cut();
    await expect(read).rejects.toMatchObject({ code: 'TRUNCATED' });
  });

  it('is not cut short by a sender that goes after its end', async () => {
    const direct = new DirectStream();
    await direct.start(someHeader(SIZE));
    const read = readAll(direct);
    await direct.finish();
    direct.cut();
    expect(await read).toEqual([]);
  });

  it('fails its sender once the receiver is gone, whether it waits or comes later, and takes no memory with it', async () => {
    const direct = new DirectStream();
    const lender = new Lender();
    await direct.start(someHeader(SIZE));
    const batch = await batchAt(0, lender);
    const waiting = direct.batch(batch);
    direct.break(new TransportError('the receiver has ended'));
    await expect(waiting).rejects.toThrow('the receiver has ended');
    batch.release();
    expect(lender.outstanding).toBe(0);
    await expect(direct.nextPass()).rejects.toThrow('the receiver has ended');
    await expect(direct.finish()).rejects.toThrow('the receiver has ended');
  });

  it('fails its sender when the receiver leaves in the middle', async () => {
    const direct = new DirectStream();
    await direct.start(someHeader(SIZE));
    const { blocks } = await direct.open();
    const taking = (async () => {
      for await (const item of blocks) return item;
      return null;
    })();
    await direct.nextPass();
    expect(await taking).toEqual({ kind: 'next-pass' });
    await expect(direct.checkpoint(Buffer.alloc(0))).rejects.toThrow('reads no more');
  });
});
