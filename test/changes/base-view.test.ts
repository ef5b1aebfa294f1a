import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BaseView } from '../../src/changes/base-view.js';
import { patterned } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { makeStore } from '../support/synthetic-store.js';

const CHUNK = 4096;
const CHUNKS = 24;
const BASE = patterned(CHUNKS * CHUNK);

/** The base's view of a volume of which these chunks, in this order, were overwritten with 0xff. */
function viewOf(overwritten: readonly number[]) {
  const exceptions = overwritten.map((oldChunk) => ({ oldChunk }));
  const store = new MemoryDevice(makeStore({ chunkSectors: CHUNK / 512, exceptions, base: BASE }), 'store');
  const volume = new MemoryDevice(BASE, 'volume');
  for (const chunk of overwritten) volume.bytes.fill(0xff, chunk * CHUNK, (chunk + 1) * CHUNK);
  return { store, volume, view: new BaseView(store, volume) };
}

describe('the base of a volume, from its store', () => {
  it('is what the volume held, whatever was overwritten in whatever order', async () => {
    const chunks = fc.uniqueArray(fc.nat(CHUNKS - 1));
    const range = fc.tuple(fc.nat(BASE.length - 1), fc.integer({ min: 1, max: BASE.length }));
    await fc.assert(
      fc.asyncProperty(chunks, fc.boolean(), range, async (overwritten, inOrder, [offset, wanted]) => {
        const { view } = viewOf(inOrder ? [...overwritten].sort((a, b) => a - b) : overwritten);
        const bytes = Buffer.alloc(Math.min(wanted, BASE.length - offset));
        await view.readAt(bytes, offset);
        expect(bytes).toBeBytes(BASE.subarray(offset, offset + bytes.length));
      }),
    );
  });

  it('is read in one piece if chunks were overwritten in order, or not at all', async () => {
    const { view, store, volume } = viewOf([9, 3, 4, 5, 6]);
    await view.readAt(Buffer.alloc(CHUNK), 0);
    const tables = store.calls.length;
    volume.calls.length = 0;
    await view.readAt(Buffer.alloc(8 * CHUNK), 512);
    expect(volume.calls).toEqual([`read 512+${3 * CHUNK - 512}`, `read ${7 * CHUNK}+${CHUNK + 512}`]);
    expect(store.calls.slice(tables)).toEqual([`read ${3 * CHUNK}+${4 * CHUNK}`]);
  });
});
