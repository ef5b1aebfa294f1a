import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Applier } from '../../src/engine/applier.js';
import { UndoLog } from '../../src/engine/undo-log.js';
import { BaseMismatchError, DeviceError, UnsafeTargetError } from '../../src/errors.js';
import { BufferPool } from '../../src/memory/aligned-memory.js';
import { RECEIVE_MEMORY } from '../../src/memory/budgets.js';
import { applyBlock, batchOf, dataBlock, patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { pool } from '../support/streams.js';

const SIZE = 64 * 1024;
let folder: string;
let count = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-applier-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function withLog(target: MemoryDevice, blockSize = 4096) {
  const path = join(folder, `log-${count++}`);
  const log = await UndoLog.create(path, `${path}.length`, undoFor(target.size, blockSize));
  return { log, applier: new Applier(target, { log, lendOld: pool() }) };
}

/** A log whose first flush waits until it is let go. */
async function withHeldSync(target: MemoryDevice, groupBytes: number) {
  const { log } = await withLog(target);
  let letGo = (): void => undefined;
  const held = new Promise<void>((resolve) => (letGo = resolve));
  const sync = vi.spyOn(log, 'sync').mockReturnValue(held);
  return { log, sync, letGo, applier: new Applier(target, { log, lendOld: pool(), groupBytes }) };
}

describe('applying', () => {
  it('writes data, zeroes and discards, then flushes once, after all of it', async () => {
    const target = new MemoryDevice(patterned(SIZE));
    const applier = new Applier(target);
    const released = { count: 0 };
    await applyBlock(applier, dataBlock(0, 4096, 7, released));
    await applyBlock(applier, { kind: 'zero', offset: 8192, length: 4096 });
    await applyBlock(applier, { kind: 'discard', offset: 16_384, length: 512 });
    await applier.finish();
    const expected = patterned(SIZE);
    expected.fill(7, 0, 4096).fill(0, 8192, 12_288).fill(0, 16_384, 16_896);
    expect(target.bytes).toBeBytes(expected);
    expect(released.count).toBe(1);
    expect(target.calls.filter((call) => call === 'flush')).toHaveLength(1);
    expect(target.calls.at(-1)).toBe('flush');
  });

  it('writes neighbours in one go, and nothing of the gaps between others', async () => {
    const target = new MemoryDevice(patterned(SIZE));
    const applier = new Applier(target);
    await applier.apply(batchOf(...[0, 4096, 8192, 16_384].map((offset) => dataBlock(offset, 4096, 7))));
    await applier.finish();
    expect(target.calls).toEqual(['write 0+12288', 'write 16384+4096', 'flush']);
  });

  it('lets the later of two overlapping blocks win', async () => {
    const target = new MemoryDevice(SIZE);
    const applier = new Applier(target);
    for (let i = 1; i <= 20; i++) await applyBlock(applier, dataBlock(0, 4096, i));
    await applier.finish();
    expect(target.bytes.subarray(0, 4096)).toBeBytes(Buffer.alloc(4096, 20));
  });

  it('refuses a block past the end of the target, before any of it is written', async () => {
    const target = new MemoryDevice(SIZE, '/dev/vg/target');
    const applier = new Applier(target);
    const released = { count: 0 };
    await expect(applyBlock(applier, dataBlock(SIZE - 512, 1024, 1, released))).rejects.toThrow(
      UnsafeTargetError,
    );
    await applier.abandon();
    expect(target.calls).toEqual([]);
    expect(released.count).toBe(1);
  });

  it('tells of a failed write, gives all memory back, and never calls that done', async () => {
    const target = new MemoryDevice(SIZE, '/dev/vg/target', { badByte: 17_000 });
    const applier = new Applier(target);
    const released = { count: 0 };
    const applying = (async () => {
      for (let i = 0; i < 8; i++) await applyBlock(applier, dataBlock(i * 8192, 4096, i, released));
      await applier.finish();
    })();
    await expect(applying).rejects.toThrow('/dev/vg/target: write at byte 16384 failed');
    await applier.abandon();
    expect(target.calls).not.toContain('flush');
    expect(released.count).toBe(applier.blocks);
  });

  it('tells of a failed flush', async () => {
    const applier = new Applier(new MemoryDevice(SIZE, 't', { flushFails: true }));
    await applyBlock(applier, dataBlock(0, 512, 1));
    await expect(applier.finish()).rejects.toThrow(DeviceError);
  });
});

describe('applying with a log', () => {
  it('saves and flushes the old bytes of a batch before the first of its blocks is overwritten', async () => {
    const target = new MemoryDevice(patterned(SIZE), 'target');
    const { applier, log } = await withLog(target);
    await applier.apply(batchOf(dataBlock(0, 4096, 1), dataBlock(8192, 4096, 1)));
    expect(target.calls.filter((call) => call.startsWith('write'))).toEqual([]);
    await applier.finish();
    expect(target.calls).toEqual(['read 0+12288', 'write 0+4096', 'write 8192+4096', 'flush']);
    await log.close();
  });

  it('takes the next batch in while one is flushed, and writes neither before', async () => {
    const target = new MemoryDevice(4 * SIZE, 'target');
    const { applier, log, sync, letGo } = await withHeldSync(target, 8192);
    await applier.apply(batchOf(dataBlock(0, 4096, 1), dataBlock(4096, 4096, 1)));
    // Two groups at most wait for their flush: the third waits to be taken in.
    const blocks = [3 * SIZE, 8192 + 3 * SIZE].map((offset) => dataBlock(offset, 4096, 1));
    const waiting = applier.apply(batchOf(...blocks));
    const reads = ['read 0+8192', `read ${3 * SIZE}+12288`];
    await vi.waitFor(
      () => {
        expect(target.calls).toEqual(reads);
        expect(sync).toHaveBeenCalledTimes(1);
      },
      { timeout: 20_000 },
    );
    letGo();
    await waiting;
    await applier.finish();
    const writes = ['write 0+8192', `write ${3 * SIZE}+4096`, `write ${3 * SIZE + 8192}+4096`];
    expect(target.calls).toEqual([...reads, ...writes, 'flush']);
    await log.close();
  });

  it('writes nothing more once a flush of the log has failed', async () => {
    const target = new MemoryDevice(patterned(SIZE), 'target');
    const { log } = await withLog(target);
    const released = { count: 0 };
    // Only the first: what it lost is lost, whatever the next one says.
    vi.spyOn(log, 'sync').mockRejectedValueOnce(
      new DeviceError('log', 'flush', null, new Error('EIO: i/o error')),
    );
    const applier = new Applier(target, { log, lendOld: pool(), groupBytes: 4096 });
    const applying = (async () => {
      for (let i = 0; i < 8; i++) await applyBlock(applier, dataBlock(i * 4096, 4096, 1, released));
      await applier.finish();
    })();
    await expect(applying).rejects.toThrow('log: flush failed');
    await applier.abandon();
    expect(target.calls.filter((call) => !call.startsWith('read'))).toEqual([]);
    expect(released.count).toBe(applier.blocks);
    await log.close();
  });

  it('needs nothing of a gap that it reads along', async () => {
    const target = new MemoryDevice(patterned(SIZE), 'target', { badByte: 5000 });
    const { applier, log } = await withLog(target);
    await applier.apply(batchOf(dataBlock(0, 4096, 1), dataBlock(8192, 4096, 1)));
    await applier.finish();
    expect(target.calls.slice(-4)).toEqual(['read 8192+4096', 'write 0+4096', 'write 8192+4096', 'flush']);
    await log.close();
  });

  it('saves the old bytes of a long zeroed extent in batches, too', async () => {
    const target = new MemoryDevice(Buffer.alloc(32 * 1024 * 1024, 7));
    const { applier, log } = await withLog(target);
    await applyBlock(applier, { kind: 'zero', offset: 4096, length: target.size - 4096 });
    await applier.finish();
    const firstWrite = target.calls.findIndex((call) => call.startsWith('write'));
    const lastRead = target.calls.findLastIndex((call) => call.startsWith('read'));
    expect(firstWrite).toBeGreaterThan(0);
    expect(firstWrite).toBeLessThan(lastRead);
    expect(target.bytes.subarray(4096)).toBeBytes(Buffer.alloc(target.bytes.length - 4096));
    expect(applier.blocks).toBe(1);
    await log.close();
  });

  it('overwrites nothing where the old bytes cannot be read', async () => {
    const target = new MemoryDevice(patterned(SIZE), 'target', { badByte: 100 });
    const { applier, log } = await withLog(target);
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await expect(applier.finish()).rejects.toThrow('target: read at byte 0');
    expect(target.calls.some((call) => call.startsWith('write'))).toBe(false);
    await applier.abandon();
    await log.close();
  });

  it('of many blocks that fill no whole loan waits for no memory that it holds itself', async () => {
    const length = 5 * 1024;
    const blocks = 2000;
    const target = new MemoryDevice(blocks * length * 2);
    const { log } = await withLog(target, 512);
    const applier = new Applier(target, { log, lendOld: new BufferPool(12 * 1024 * 1024).lend });
    const { lend } = new BufferPool(RECEIVE_MEMORY);
    for (let i = 0; i < blocks; i++) {
      const data = await lend(length);
      data.bytes.fill(1);
      await applyBlock(applier, { kind: 'data', offset: i * length * 2, length, data });
    }
    await applier.finish();
    expect(applier.blocks).toBe(blocks);
    await log.close();
  });
});

describe('a proof', () => {
  const prove = (bytes: Uint8Array, offset: number) => ({ offset, length: bytes.length, crc: crc32(bytes) });

  it('is kept by old bytes, and by new ones that an earlier run left', async () => {
    const base = patterned(SIZE);
    const target = new MemoryDevice(base);
    target.bytes.fill(9, 4096, 8192);
    const applier = new Applier(target, { lendOld: pool(), stopOnMismatch: true });
    await applier.apply(
      batchOf({ kind: 'proof', ...prove(base.subarray(0, 4096), 0) }, dataBlock(0, 4096, 9)),
    );
    await applier.apply(
      batchOf({ kind: 'proof', ...prove(base.subarray(4096, 8192), 4096) }, dataBlock(4096, 4096, 9)),
    );
    await applier.finish();
    expect(applier.mismatches).toBe(0);
  });

  it('that fails is counted, and the block, which is whole, is written all the same', async () => {
    const target = new MemoryDevice(Buffer.alloc(SIZE, 'another volume'));
    const applier = new Applier(target, { lendOld: pool() });
    await applier.apply(
      batchOf({ kind: 'proof', ...prove(patterned(SIZE).subarray(0, 4096), 0) }, dataBlock(0, 4096, 9)),
    );
    await applier.finish();
    expect(applier.mismatches).toBe(1);
    expect(target.bytes.subarray(0, 4096)).toBeBytes(Buffer.alloc(4096, 9));
  });

  it('that fails stops before the block is written, where that is wanted', async () => {
    const target = new MemoryDevice(Buffer.alloc(SIZE, 'another volume'), '/dev/t');
    const applier = new Applier(target, { lendOld: pool(), stopOnMismatch: true });
    const applying = applier
      .apply(
        batchOf(
          { kind: 'proof', ...prove(patterned(SIZE).subarray(8192, 12_288), 8192) },
          dataBlock(8192, 4096, 9),
        ),
      )
      .then(() => applier.finish());
    await expect(applying).rejects.toThrow(BaseMismatchError);
    await expect(applying).rejects.toThrow('/dev/t: at byte 8192: it does not hold');
    await applier.abandon();
    expect(target.calls.some((call) => call.startsWith('write'))).toBe(false);
  });
});
