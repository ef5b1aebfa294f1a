import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Archive } from '../../src/archive/archive.js';
import { proveBase } from '../../src/chain/prove-base.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import type { BaseProof } from '../../src/targets/base-check.js';
import { announced } from '../support/blocks.js';
import { someHeader } from '../support/scenes/feed.js';
import { MemoryDevice } from '../support/memory-device.js';
import { collectingSink } from '../support/streams.js';
import { applyWrites, bytesOf, openBytes, SECTOR, type Write } from '../support/scenes/archives.js';

/** Of the largest volume; others may be smaller. */
const SECTORS = 40;
let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-prove-base-'))));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** A part of a volume. Sectors. */
interface Part {
  readonly at: number;
  readonly count: number;
}

/** What an archive says of some of its base: the truth, or by its `lie` something else. */
interface Saying extends Part {
  readonly lie: boolean;
  readonly isAnnounced: boolean;
}

/** An undo as it is written: what it brings, and what it says of its base, in this order. */
interface Undo {
  readonly sectors: number;
  readonly passes: readonly (readonly Write[])[];
  readonly says: readonly Saying[];
}

const numberOf = <T>(value: T, weight: number) => ({ arbitrary: fc.constant(value), weight });
const seldom = fc.oneof(numberOf(false, 60), numberOf(true, 1));

const part = fc.record({ at: fc.nat(SECTORS - 1), count: fc.integer({ min: 1, max: 12 }) });
const write = part.chain((where) =>
  fc.record({
    at: fc.constant(where.at),
    count: fc.constant(where.count),
    kind: fc.constantFrom('data' as const, 'packed' as const, 'zero' as const, 'discard' as const),
    fill: fc.nat(250),
  }),
);

function within<T extends Part>(parts: readonly T[], sectors: number): T[] {
  return parts.flatMap((each) =>
    each.at < sectors ? [{ ...each, count: Math.min(each.count, sectors - each.at) }] : [],
  );
}

const undo: fc.Arbitrary<Undo> = fc
  .record({
    sectors: fc.oneof(numberOf(SECTORS, 3), { arbitrary: fc.integer({ min: 8, max: SECTORS }), weight: 1 }),
    passes: fc.array(fc.array(write, { maxLength: 6 }), { minLength: 1, maxLength: 2 }),
    every: fc.integer({ min: 1, max: 9 }),
    forgets: fc.array(seldom, { minLength: 40, maxLength: 40 }),
    lies: fc.array(seldom, { minLength: 80, maxLength: 80 }),
    announced: fc.array(fc.boolean(), { minLength: 80, maxLength: 80 }),
    others: fc.array(part, { maxLength: 3 }),
  })
  .map(({ sectors, passes, every, forgets, lies, announced, others }) => {
    const written = passes.map((pass) => apart(within(pass, sectors)));
    const said = cut(written.flat(), every).filter((_, index) => forgets[index % 40] !== true);
    const says = [...within(others, sectors), ...said].map((where, index) => ({
      ...where,
      lie: lies[index % 80] ?? false,
      isAnnounced: announced[index % 80] ?? false,
    }));
    return { sectors, passes: written, says };
  });

/** What the proofs of an undo are, each with its checksum, of a volume of these bytes. */
function proofsOf({ says }: Undo, volume: Buffer) {
  return says.map(({ at, count, lie, isAnnounced }) => {
    const bytes = volume.subarray(at * SECTOR, (at + count) * SECTOR);
    const crc = (crc32(bytes) ^ (lie ? 1 : 0)) >>> 0;
    const zeroes = isAnnounced && !lie && !bytes.some((byte) => byte !== 0);
    return { offset: at * SECTOR, length: count * SECTOR, crc, zeroes, isAnnounced };
  });
}

async function writeOne(writer: FrameWriter, write: Write): Promise<void> {
  const bytes = bytesOf(write);
  const offset = write.at * SECTOR;
  if (write.kind === 'zero' || write.kind === 'discard') await writer[write.kind](offset, bytes.length);
  else if (write.kind === 'data') await writer.data(offset, bytes);
  else
    await writer.data(offset, bytes, { crc: crc32(bytes), packed: { codec: 1, bytes: deflateSync(bytes) } });
}

const sectorsOf = ({ at, count }: Part) => Array.from({ length: count }, (_, index) => at + index);

describe('what undos start from', () => {
  it('is judged as if each proof were checked against the bytes that the undos before it left', async () => {
    const verdicts = { proved: 0, differs: 0, unproved: 0 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(undo, { minLength: 1, maxLength: 9 }),
        fc.oneof(numberOf(SECTORS, 8), { arbitrary: fc.integer({ min: 20, max: SECTORS }), weight: 1 }),
        fc.oneof(numberOf(null, 2), {
          arbitrary: fc.nat(SECTORS * SECTOR - 1),
          weight: 1,
        }),
        async (undos, sectors, spoilt) => {
          const base = Buffer.alloc(SECTORS * SECTOR, 'what was there before ');
          base.fill(0, 10 * SECTOR, 15 * SECTOR);
          const contents = Buffer.from(base.subarray(0, sectors * SECTOR));
          // What the archives say is of a target to which nobody wrote.
          const proved: Buffer[] = [];
          const archives: Archive[] = [];
          for (const [index, each] of undos.entries()) {
            proved.push(Buffer.from(base));
            archives.push(await archiveOf(index, each, base));
            applyWrites(base, each.passes);
          }
          if (spoilt !== null && spoilt < contents.length) contents[spoilt] = (contents[spoilt] ?? 0) ^ 0x10;
          const expected = reference(undos, proved, contents);
          const found = await proveBase(new MemoryDevice(contents), archives, new AbortController().signal);
          expect(found).toEqual(expected);
          verdicts[expected.is] += 1;
        },
      ),
      { numRuns: 600 },
    );
    // Each of them was met often.
    expect(Math.min(...Object.values(verdicts))).toBeGreaterThan(60);
  });
});

/** Those of ascending parts that do not overlap one before. */
function apart<T extends Part>(parts: readonly T[]): T[] {
  let end = 0;
  return [...parts]
    .sort((a, b) => a.at - b.at)
    .filter(({ at, count }) => {
      if (at < end) return false;
      end = at + count;
      return true;
    });
}

/** Parts in pieces, which adjoin: cut at places that all archives may have in common, or not. */
function cut(parts: readonly Part[], every: number): Part[] {
  return parts.flatMap(({ at, count }) => {
    const pieces: Part[] = [];
    for (let from = at; from < at + count;) {
      const to = Math.min(at + count, from - (from % every) + every);
      pieces.push({ at: from, count: to - from });
      from = to;
    }
    return pieces;
  });
}

async function archiveOf(index: number, each: Undo, volume: Buffer): Promise<Archive> {
  const { sectors, passes } = each;
  const sink = collectingSink();
  const writer = new FrameWriter(sink, { indexed: index % 2 === 0 });
  await writer.start({ ...someHeader(sectors * SECTOR), kind: 'undo', base: null, result: null });
  for (const [pass, writes] of passes.entries()) {
    if (pass > 0) await writer.nextPass();
    for (const write of writes) await writeOne(writer, write);
  }
  for (const proof of proofsOf(each, volume)) {
    if (proof.isAnnounced) await writer.announce(announced(proof));
    else await writer.prove(proof);
  }
  await writer.finish();
  return await openBytes(folder, `${index}.undo`, sink.bytes());
}

/** Plainly: each proof is held against the bytes that the archives before it made, sector by sector. */
function reference(undos: readonly Undo[], proved: readonly Buffer[], contents: Buffer): BaseProof {
  const state = Buffer.alloc(SECTORS * SECTOR);
  contents.copy(state);
  for (const [index, each] of undos.entries()) {
    const proofs = proofsOf(each, proved[index] ?? state);
    // What was said of a sector later counts; a proof of which some does not count says nothing.
    const counting = Array.from({ length: SECTORS }, (_, sector) =>
      proofs.findLastIndex(
        ({ offset, length }) => offset <= sector * SECTOR && sector * SECTOR < offset + length,
      ),
    );
    const isWhole = proofs.map(({ offset, length }, proof) =>
      counting.slice(offset / SECTOR, (offset + length) / SECTOR).every((counts) => counts === proof),
    );
    const written = [...new Set(each.passes.flat().flatMap(sectorsOf))].sort((a, b) => a - b);
    const unproved = written.find((sector) => isWhole[counting[sector] ?? -1] !== true);
    if (unproved !== undefined) return { is: 'unproved', offset: unproved * SECTOR };
    const differing = proofs
      .filter((_, proof) => isWhole[proof])
      .sort((a, b) => a.offset - b.offset)
      .find(
        ({ offset, length, crc }) =>
          offset + length > contents.length || crc32(state.subarray(offset, offset + length)) !== crc,
      );
    if (differing !== undefined) return { is: 'differs', offset: differing.offset };
    applyWrites(state, each.passes);
  }
  return { is: 'proved' };
}
