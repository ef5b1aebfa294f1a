import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { crc32 } from '../../src/bytes/contents.js';
import { endOf, type Extent } from '../../src/bytes/extent.js';
import { UndoLog, type PieceToSave } from '../../src/engine/undo-log.js';
import { parseAnnouncements } from '../../src/stream/frame-format.js';
import { announced, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { feed, readAll } from '../support/scenes/feed.js';
import { framesOf } from '../support/scenes/reframe.js';

const SECTOR = 512;
const SIZE = 2 * 1024 * 1024 + 3 * SECTOR;
const SECTORS = SIZE / SECTOR;
let folder: string;
let count = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-undo-log-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function newLog(blockSize: number): Promise<UndoLog> {
  const path = join(folder, `log-${count++}`);
  return await UndoLog.create(path, `${path}.length`, undoFor(SIZE, blockSize));
}

/** Sectors that are zero, up to some number, and sectors that are not. */
function oldBytes(zeroUpTo: number): Buffer {
  const bytes = Buffer.alloc(SIZE);
  for (let sector = zeroUpTo; sector < SECTORS; sector++)
    bytes.fill((sector % 251) + 1, sector * SECTOR, (sector + 1) * SECTOR);
  return bytes;
}

/** A piece of a run: where, and what of its old bytes is known. */
const piece = fc.record({
  sector: fc.nat(SECTORS - 1),
  sectors: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(64, 2048, SECTORS)),
  known: fc.constantFrom('nothing' as const, 'bytes' as const, 'all' as const),
});
const runs = fc.array(fc.array(piece, { maxLength: 20 }), { minLength: 1, maxLength: 3 });
type Run = readonly { sector: number; sectors: number; known: 'nothing' | 'bytes' | 'all' }[];

function piecesOf(run: Run, device: MemoryDevice): PieceToSave[] {
  return run.map(({ sector, sectors, known }) => {
    const offset = sector * SECTOR;
    const length = Math.min(sectors, SECTORS - sector, 2048) * SECTOR;
    if (known === 'nothing') return { offset, length };
    const bytes = Buffer.from(device.bytes.subarray(offset, offset + length));
    if (known === 'bytes') return { offset, length, bytes };
    return { offset, length, bytes, crc: crc32(bytes), isEmpty: bytes.equals(Buffer.alloc(length)) };
  });
}

/** What is written in the place of pieces. */
function writesTo(pieces: readonly Extent[]) {
  return pieces.map(({ offset, length }, index) => ({
    ...{ offset, length },
    ...(index % 3 === 0 ? { zeroes: true, crc: 0 } : { zeroes: false, crc: index }),
  }));
}

/** The blocks of a log, as items. */
async function savedIn(stream: Buffer): Promise<string[]> {
  const { outcome, items } = await readAll(feed(stream));
  expect(outcome).toBe('ok');
  return items.filter((item) => item !== 'next-pass');
}

function extentOf(item: string): Extent {
  const [, offset, length] = item.split(' ');
  return { offset: Number(offset), length: Number(length) };
}

/** The item that saves these bytes. */
function describeOld(bytes: Buffer, offset: number): string {
  if (bytes.equals(Buffer.alloc(bytes.length))) return `zero ${offset} ${bytes.length}`;
  return `data ${offset} ${bytes.length} ${crc32(bytes).toString(16).padStart(8, '0')}`;
}

/** What the log's frames of a type have in them. */
function payloadsOf(type: string, stream: Buffer): Buffer[] {
  return framesOf(stream)
    .filter((at) => String.fromCharCode(stream[at + 4] ?? 0) === type)
    .map((at) => stream.subarray(at + 14, at + 14 + stream.readUInt32BE(at)));
}

describe('an undo log', () => {
  it('has the first old bytes of every block that is written to, once, and the writes of each run', async () => {
    const blockSizes = fc.constantFrom(SECTOR, 4096, 65_536);
    await fc.assert(
      fc.asyncProperty(runs, blockSizes, fc.nat(SECTORS), async (all, blockSize, zeroUpTo) => {
        const device = new MemoryDevice(oldBytes(zeroUpTo));
        const [log, single] = [await newLog(blockSize), await newLog(blockSize)];
        const touched = new Set<number>();
        const writes = [];
        for (const run of all) {
          const pieces = piecesOf(run, device);
          for (const each of pieces) {
            const last = Math.ceil(endOf(each) / blockSize);
            for (let unit = Math.floor(each.offset / blockSize); unit < last; unit++) touched.add(unit);
          }
          writes.push(...writesTo(pieces));
          for (const each of pieces) await single.save(device, [each]);
          await log.save(device, pieces, announced(...writesTo(pieces)));
          expect(log.announced).toBe(writes.length);
          // What was known is no longer needed, and what comes now is not old.
          for (const { bytes } of pieces) bytes?.fill(0xee);
          for (const { offset, length } of pieces) device.bytes.fill(0xdd, offset, offset + length);
        }
        await log.end();
        await single.end();
        for (const each of [log, single]) await each.close();
        const stream = readFileSync(log.path);
        const saved = await savedIn(stream);
        expect(saved).toEqual(await savedIn(readFileSync(single.path)));
        const old = oldBytes(zeroUpTo);
        const units: number[] = [];
        for (const item of saved) {
          const { offset, length } = extentOf(item);
          expect(item).toBe(describeOld(old.subarray(offset, offset + length), offset));
          for (let unit = offset / blockSize; unit * blockSize < offset + length; unit++) units.push(unit);
        }
        expect(units.toSorted((a, b) => a - b)).toEqual([...touched].toSorted((a, b) => a - b));
        const said = payloadsOf('W', stream).flatMap((payload) => [...parseAnnouncements(payload, 'log', 0)]);
        expect(said).toEqual(writes);
      }),
      { numRuns: 10 },
    );
  });

  it('whose target cannot be read there keeps what it saved before, in whole frames', async () => {
    const device = new MemoryDevice(oldBytes(0), 'target', { badByte: 100_000 });
    const log = await newLog(4096);
    const bytes = Buffer.from(device.bytes.subarray(0, 4096));
    const pieces = [
      { offset: 0, length: 4096, bytes },
      { offset: 98_304, length: 4096 },
    ];
    const saving = log.save(device, pieces, announced({ offset: 0, length: 4096, zeroes: true, crc: 0 }));
    await expect(saving).rejects.toThrow('target: read at byte 98304');
    expect(log.announced).toBe(0);
    await log.handOver();
    await log.close();
    const { outcome, items } = await readAll(feed(readFileSync(log.path)));
    expect(outcome).toBe('TRUNCATED');
    expect(items).toHaveLength(1);
  });
});
