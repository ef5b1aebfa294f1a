import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkExceptionStore, readExceptionStore } from '../../src/changes/exception-store.js';
import { FormatError, SnapshotError } from '../../src/errors.js';
import { MemoryDevice } from '../support/memory-device.js';
import { makeStore, type StoreRecipe } from '../support/synthetic-store.js';

const MIB = 1024 * 1024;
const UNKNOWN = { trackedSize: null, volumeSize: null };
const ONE_KIB = 2;

function chunks(count: number): { oldChunk: number }[] {
  return Array.from({ length: count }, (_, oldChunk) => ({ oldChunk }));
}

async function read(recipe: StoreRecipe, volumeSize: number | null = null) {
  const cow = new MemoryDevice(makeStore(recipe), '/dev/cow');
  return await readExceptionStore(cow, { trackedSize: volumeSize, volumeSize });
}

describe('an exception store', () => {
  it('gives each exception once, over any number of areas, in any order', async () => {
    const order = fc.uniqueArray(fc.nat(5000), { maxLength: 700 });
    await fc.assert(
      fc.asyncProperty(order, fc.constantFrom(1, 2, 8), async (oldChunks, chunkSectors) => {
        const exceptions = oldChunks.map((oldChunk) => ({ oldChunk }));
        const store = await read({ chunkSectors, exceptions });
        expect(store.exceptions).toBe(oldChunks.length);
        expect(store.changes.chunks.count).toBe(oldChunks.length);
        for (const each of oldChunks) expect(store.changes.chunks.has(each)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it.each([63, 64, 65, 127, 128, 129, 6400])('ends right at %i exceptions (64 an area)', async (count) => {
    const store = await read({ chunkSectors: ONE_KIB, exceptions: chunks(count) });
    expect(store.exceptions).toBe(count);
  });

  it('stops at the terminator, whatever follows it', async () => {
    // 0x41 everywhere that is not written: as entries, that is a wild mixture of chunks.
    const store = await read({ chunkSectors: ONE_KIB, exceptions: chunks(64), size: 4 * MIB, fill: 0x41 });
    expect(store.exceptions).toBe(64);
  });

  it('recognizes the end by an entry’s new chunk alone', async () => {
    const exceptions = [{ oldChunk: 7 }, { oldChunk: 9, newChunk: 0 }, { oldChunk: 3, newChunk: 4 }];
    const store = await read({ chunkSectors: ONE_KIB, exceptions });
    expect([...store.changes.chunks.runs()]).toEqual([{ offset: 7, length: 1 }]);
  });

  it('counts the space in use as the kernel does', async () => {
    // Seen on a real kernel: "56/32768 16" with 5 exceptions of 8 sectors.
    const store = await read({ chunkSectors: 8, exceptions: chunks(5), size: 32_768 * 512 });
    expect([store.storeUsed, store.storeSize]).toEqual([56 * 512, 32_768 * 512]);
  });

  it('takes a chunk size beyond a piece of the read-ahead', async () => {
    const store = await read({ chunkSectors: 2048, exceptions: chunks(3) });
    expect([store.chunkSize, store.exceptions]).toEqual([MIB, 3]);
  });

  it('is read afresh each time', async () => {
    const cow = new MemoryDevice(makeStore({ chunkSectors: ONE_KIB, exceptions: chunks(1) }));
    await readExceptionStore(cow, UNKNOWN);
    expect(cow.calls[0]).toBe('refresh');
    await checkExceptionStore(cow);
    expect(cow.calls.filter((call) => call === 'refresh')).toHaveLength(2);
  });
});

describe('a store that cannot be trusted is an error, never a short list', () => {
  const good = { chunkSectors: ONE_KIB, exceptions: chunks(3) };

  it.each([
    ['invalid', { valid: 0 }, /invalid.*filled up/],
    ['never begun', { magic: 0 }, /never initialized/],
    ['another format', { magic: 0x1234 }, /magic 0x00001234/],
    ['another version', { version: 2 }, /version 2/],
    ['no chunk size', { chunkSectors: 0 }, /chunk size of 0/],
    ['an odd chunk size', { chunkSectors: 24 }, /chunk size of 24/],
    ['a huge chunk size', { chunkSectors: 0x8000_0000 }, /chunk size of/],
  ])('%s', async (_name, header, message) => {
    const reading = read({ ...good, header });
    await expect(reading).rejects.toThrow(SnapshotError);
    await expect(reading).rejects.toThrow(message);
  });

  it.each([
    ['an empty file', { size: 0 }, /header at byte 0/],
    ['half a header', { size: 10 }, /header at byte 0/],
    ['no table', { size: 1024 }, /cut short/],
    ['its data cut off', { size: 3 * 1024 }, /new chunk 3 is past the store's 3: the store is cut short/],
    [
      'a full last area',
      { exceptions: chunks(64), size: 66 * 1024 },
      /metadata area at byte 67584.*cut short/,
    ],
  ])('%s', async (_name, change, message) => {
    const reading = read({ ...good, ...change });
    await expect(reading).rejects.toThrow(FormatError);
    await expect(reading).rejects.toThrow(message);
  });

  it.each([
    [
      'an exception past the end of the volume',
      { oldChunk: 10 },
      /exception at byte 1024: old chunk 10 is past the volume/,
    ],
    ['data in a table', { oldChunk: 1, newChunk: 66 }, /new chunk 66 is a metadata chunk/],
    ['data in the header', { oldChunk: 1, newChunk: 1 }, /new chunk 1 is a metadata chunk/],
    ['data past the end of the store', { oldChunk: 1, newChunk: 2 ** 40 }, /is past the store/],
  ])('%s', async (_name, exception, message) => {
    await expect(
      read({ chunkSectors: ONE_KIB, exceptions: [exception], size: MIB }, 10 * 1024),
    ).rejects.toThrow(message);
  });

  it('names the device and the byte of an entry deep inside', async () => {
    const exceptions = [...chunks(70), { oldChunk: 1000 }];
    // Entry 6 of the second area, whose table is chunk 66.
    await expect(read({ chunkSectors: ONE_KIB, exceptions }, 100 * 1024)).rejects.toThrow(
      `/dev/cow: exception at byte ${66 * 1024 + 6 * 16}`,
    );
  });

  it('a device that cannot be read', async () => {
    const cow = new MemoryDevice(makeStore(good), '/dev/cow', { badByte: 1100 });
    await expect(readExceptionStore(cow, UNKNOWN)).rejects.toThrow('/dev/cow: read at byte 1024 failed: EIO');
  });
});
