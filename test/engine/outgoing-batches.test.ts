import { describe, expect, it } from 'vitest';
import { crc32 } from '../../src/bytes/contents.js';
import type { Extent } from '../../src/bytes/extent.js';
import { readOutgoing, type OutgoingExtents } from '../../src/engine/outgoing-batches.js';
import { BATCH_ENTRIES, ENTRY } from '../../src/stream/batches/batch.js';
import { MemoryDevice } from '../support/memory-device.js';
import { Lender } from '../support/scenes/feed.js';

const KIB = 1024;
const MIB = KIB * KIB;

/** A volume whose every sector is different. */
function numbered(size: number, salt = 0): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += 512) bytes.fill(`${salt} ${at} `, at, Math.min(at + 512, size));
  return bytes;
}

interface Entry extends Extent {
  readonly kind: number;
  readonly crc: number;
  readonly bytes: Buffer | null;
}

/** All entries of all batches, and the sums of the batches. */
async function entriesOf(
  extents: Partial<OutgoingExtents>,
  volumes: { news: Buffer; olds?: Buffer; unit?: number },
  lender = new Lender(),
) {
  const { news, olds, unit = null } = volumes;
  const bytes = {
    news: new MemoryDevice(news),
    olds: olds === undefined ? null : new MemoryDevice(olds),
    unit,
  };
  const entries: Entry[] = [];
  const batches: { pieces: number; sections: readonly number[]; covered: number; end: number | null }[] = [];
  for await (const each of readOutgoing(
    { data: [], old: [], discards: [], ...extents },
    bytes,
    lender.lend,
  )) {
    const { batch, pieces, sections, coveredBytes: covered, end } = each;
    batches.push({ pieces, sections, covered, end });
    expect(batch.count).toBeGreaterThan(0);
    expect(batch.count).toBeLessThanOrEqual(BATCH_ENTRIES);
    for (let entry = 0; entry < batch.count; entry++) {
      const kind = batch.kindAt(entry);
      const data = kind === ENTRY.data ? Buffer.from(batch.bytesAt(entry)) : null;
      entries.push({ kind, ...batch.extentAt(entry), crc: batch.crcAt(entry), bytes: data });
    }
    batch.release();
  }
  expect(lender.outstanding).toBe(0);
  return { entries, batches };
}

describe('what is read to be sent', () => {
  it('is every piece in order, in full where nothing is known of old bytes, with the discards between them', async () => {
    const news = numbered(3 * MIB);
    news.fill(0, 8 * KIB, 12 * KIB);
    const data = [
      { offset: 0, length: 4 * KIB },
      { offset: 8 * KIB, length: 4 * KIB },
      { offset: 64 * KIB, length: 2 * MIB },
    ];
    const discards = [
      { offset: 4 * KIB, length: 4 * KIB },
      { offset: 12 * KIB, length: 52 * KIB },
      { offset: 64 * KIB + 2 * MIB, length: 64 * KIB },
    ];
    const { entries, batches } = await entriesOf({ data, discards }, { news });
    expect(entries.map(({ kind, offset, length }) => [kind, offset / KIB, length / KIB])).toEqual([
      [ENTRY.data, 0, 4],
      [ENTRY.discard, 4, 4],
      [ENTRY.zero, 8, 4],
      [ENTRY.discard, 12, 52],
      [ENTRY.data, 64, 960],
      [ENTRY.data, 1024, 1024],
      [ENTRY.data, 2048, 64],
      [ENTRY.discard, 2112, 64],
    ]);
    for (const { offset, length, bytes, crc } of entries) {
      if (bytes === null) continue;
      expect(bytes).toBeBytes(news.subarray(offset, offset + length));
      expect(crc).toBe(crc32(bytes));
    }
    expect(batches.reduce((sum, { covered }) => sum + covered, 0)).toBe(2 * MIB + 128 * KIB);
    expect(batches.map(({ end }) => end)).toEqual([MIB, 2 * MIB, 2112 * KIB, null]);
  });

  it('has proofs of what the base had, and none of a tail that it did not have', async () => {
    const [news, olds] = [numbered(64 * KIB, 1), numbered(48 * KIB)];
    const old = [{ offset: 32 * KIB, length: 16 * KIB }];
    const data = [...old, { offset: 48 * KIB, length: 16 * KIB }];
    const { entries } = await entriesOf({ data, old }, { news, olds });
    expect(entries.map(({ kind, offset, crc }) => [kind, offset, crc])).toEqual([
      [ENTRY.proof, 32 * KIB, crc32(olds.subarray(32 * KIB))],
      [ENTRY.data, 32 * KIB, crc32(news.subarray(32 * KIB, 48 * KIB))],
      [ENTRY.data, 48 * KIB, crc32(news.subarray(48 * KIB))],
    ]);
  });

  it('is only the units that differ, behind their section, even if none does', async () => {
    const olds = numbered(64 * KIB);
    const news = Buffer.from(olds);
    news.fill(7, 17 * KIB, 18 * KIB);
    news.fill(0, 24 * KIB, 28 * KIB);
    const data = [16, 32].map((at) => ({ offset: at * KIB, length: 16 * KIB }));
    const { entries, batches } = await entriesOf({ data, old: data }, { news, olds, unit: 4 * KIB });
    expect(entries.map(({ kind, offset, length }) => [kind, offset / KIB, length / KIB])).toEqual([
      [ENTRY.section, 16, 16],
      [ENTRY.data, 16, 4],
      [ENTRY.zero, 24, 4],
      [ENTRY.section, 32, 16],
    ]);
    expect(entries[1]?.crc).toBe(crc32(news.subarray(16 * KIB, 20 * KIB)));
    expect(batches).toEqual([{ pieces: 2, sections: [0, 1], covered: 32 * KIB, end: 48 * KIB }]);
  });

  it('comes in several batches where one has too many entries, with all of its memory given back', async () => {
    const olds = numbered(2 * MIB);
    const news = Buffer.from(olds);
    // Every other sector, so that each section has as many parts as it can have.
    for (let at = 0; at < news.length; at += KIB) news.fill(7, at, at + 512);
    const data = Array.from({ length: 512 }, (_, index) => ({ offset: index * 4 * KIB, length: 4 * KIB }));
    const discards = Array.from({ length: 1000 }, (_, index) => ({
      offset: 3 * MIB + index * KIB,
      length: 512,
    }));
    const few = await entriesOf({ data, old: data, discards }, { news, olds, unit: 512 });
    expect(few.entries).toHaveLength(512 * 5 + 1000);
    expect(few.batches.flatMap(({ sections }) => sections)).toHaveLength(512);

    const many = [];
    for (let at = 2 * MIB; at < 2 * MIB + 6000 * 512; at += 512) many.push({ offset: at, length: 512 });
    const { entries, batches } = await entriesOf(
      { data, old: data, discards: many },
      { news, olds, unit: 512 },
    );
    expect(entries).toHaveLength(512 * 5 + 6000);
    expect(batches.length).toBeGreaterThan(4);
    expect(entries.map(({ offset }) => offset)).toEqual(
      entries.map(({ offset }) => offset).sort((a, b) => a - b),
    );
  });

  it.each(['news', 'olds'] as const)('gives all memory back after a read error of the %s', async (broken) => {
    const lender = new Lender();
    const data = [0, 1, 2, 3, 4].map((each) => ({ offset: each * MIB, length: MIB }));
    const devices = {
      news: new MemoryDevice(numbered(5 * MIB)),
      olds: new MemoryDevice(numbered(5 * MIB, 1)),
    };
    devices[broken].readAt = (_bytes, offset) =>
      offset === 2 * MIB ? Promise.reject(new Error('bad sector')) : Promise.resolve();
    const offsets: number[] = [];
    const reading = async () => {
      const extents = { data, old: data, discards: [] };
      for await (const { batch } of readOutgoing(extents, { ...devices, unit: null }, lender.lend)) {
        offsets.push(batch.offsetAt(0));
        batch.release();
      }
    };
    await expect(reading()).rejects.toThrow('bad sector');
    expect(offsets).toEqual([0, MIB]);
    expect(lender.outstanding).toBe(0);
  });

  it('gives all memory back to a consumer that leaves, also between two batches of one span', async () => {
    for (const most of [1, 2, 3]) {
      const lender = new Lender();
      const olds = numbered(4 * MIB);
      const news = numbered(4 * MIB, 1);
      const data = [{ offset: 0, length: 4 * MIB }];
      const discards = Array.from({ length: 5000 }, (_, index) => ({
        offset: 4 * MIB + index * 512,
        length: 512,
      }));
      const devices = { news: new MemoryDevice(news), olds: new MemoryDevice(olds), unit: null };
      let taken = 0;
      for await (const { batch } of readOutgoing({ data, old: data, discards }, devices, lender.lend)) {
        batch.release();
        taken += 1;
        if (taken === most) break;
      }
      expect(taken).toBe(most);
      expect(lender.outstanding).toBe(0);
    }
  });

  it('gives the old bytes of a span back, too, to a consumer that leaves before the last batch of it', async () => {
    const lender = new Lender();
    const devices = {
      news: new MemoryDevice(numbered(MIB, 1)),
      olds: new MemoryDevice(numbered(MIB)),
      unit: null,
    };
    // More proofs and blocks than a batch has entries.
    const data = Array.from({ length: MIB / 512 }, (_, index) => ({ offset: index * 512, length: 512 }));
    const batches = readOutgoing({ data, old: data, discards: [] }, devices, lender.lend);
    for await (const { batch, end } of batches) {
      expect(end).toBeLessThan(MIB);
      batch.release();
      break;
    }
    expect(lender.outstanding).toBe(0);
  });

  it('refuses old bytes that lie elsewhere than the new ones', async () => {
    const data = [{ offset: 0, length: 8 * KIB }];
    const volumes = { news: numbered(16 * KIB), olds: numbered(16 * KIB) };
    const shorter = [{ offset: 0, length: 4 * KIB }];
    await expect(entriesOf({ data, old: shorter }, volumes)).rejects.toThrow('another length');
    const elsewhere = [{ offset: 8 * KIB, length: 4 * KIB }];
    await expect(entriesOf({ data, old: elsewhere }, volumes)).rejects.toThrow('where nothing is sent');
  });
});
