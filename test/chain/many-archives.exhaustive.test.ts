import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ReadAheadFile } from '../../src/archive/read-ahead-file.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { StateRecord } from '../../src/targets/state-record.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { announced } from '../support/blocks.js';
import { runWords } from '../support/run-program.js';
import { SECTOR } from '../support/scenes/archives.js';
import { someHeader } from '../support/scenes/feed.js';
import { collectingSink } from '../support/streams.js';

/** How much of an archive is read at once, at most. Bytes. */
const WINDOW = 256 * 1024;

/** What was done with the archives' files. */
const work = vi.hoisted(() => ({ opens: 0, reads: 0, bytes: 0 }));
vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>();
  const open = async (...words: Parameters<typeof real.open>): Promise<FileHandle> => {
    const file = await real.open(...words);
    if (!String(words[0]).endsWith('.undo')) return file;
    work.opens += 1;
    const read = file.read.bind(file) as (...words: unknown[]) => Promise<{ bytesRead: number }>;
    Object.assign(file, {
      read: async (...given: unknown[]) => {
        const result = await read(...given);
        work.reads += 1;
        work.bytes += result.bytesRead;
        return result;
      },
    });
    return file;
  };
  return { ...real, open };
});

/** Extents of each archive; those of all archives take turns over the volume. */
const EXTENTS = 48;
const SLOW = 120_000;
let folder = '';
let undos = '';
let target = '';
let state = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-many-'));
  [undos, target, state] = ['undos', 'target', 'state'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(undos);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const old = (archive: number) => Buffer.alloc(SECTOR, `old ${archive} `);
const present = (archive: number) => Buffer.alloc(SECTOR, `new ${archive} `);

async function restore() {
  [work.opens, work.bytes] = [0, 0];
  const words = ['restore', target, '--to', 'S0', '--from', undos, '--state-dir', state];
  return await runWords(words);
}

describe('an archive whose blocks are read', () => {
  const PIECE = 4096;
  const SIZE = 4 * 1024 * 1024;
  const content = Buffer.from(Uint32Array.from({ length: SIZE / 4 }, (_, index) => index).buffer);

  /** Reads the pieces at these positions; returns how many bytes were read from the file for it. */
  async function readPieces(positions: readonly number[]): Promise<number> {
    const path = join(folder, 'pieces.undo');
    writeFileSync(path, content);
    [work.reads, work.bytes] = [0, 0];
    const file = await ReadAheadFile.open(path, WINDOW, true);
    const piece = Buffer.alloc(PIECE);
    for (const position of positions) {
      expect(await file.fill(piece, position)).toBe(PIECE);
      expect(piece).toBeBytes(content.subarray(position, position + PIECE));
    }
    await file.close();
    return work.bytes;
  }

  const every = (step: number) => Array.from({ length: Math.floor(SIZE / step) }, (_, index) => index * step);

  it.each([
    ['here and there', every(100_000)],
    ['backwards', every(50_000).reverse()],
    ['in a row at first, then here and there', [...every(PIECE).slice(0, 100), ...every(100_000).slice(5)]],
  ])('%s is read without much around it', async (_how, positions) => {
    expect(await readPieces(positions)).toBeLessThan(5 * PIECE * positions.length);
  });

  it('in a row is read once, in long reads', async () => {
    expect(await readPieces(every(PIECE))).toBeLessThan(1.1 * SIZE);
    expect(work.reads).toBeLessThan((2 * SIZE) / WINDOW);
  });
});

it.each([20, 40, 80])(
  'a restore by %i archives reads each of them a few times, however many',
  async (count) => {
    const bytes = await layOut(count);
    expect((await restore()).status).toBe(0);
    const contents = readFileSync(target);
    for (let archive = 1; archive <= count; archive++) {
      const at = archive * SECTOR;
      expect(contents.subarray(at, at + SECTOR)).toBeBytes(old(archive));
    }
    expect(work.opens / count).toBeLessThan(10);
    expect(work.bytes / bytes).toBeLessThan(8);
  },
  SLOW,
);

it.each([20, 40, 80])(
  'so does a restore by %i archives that must be proved first',
  async (count) => {
    const bytes = await layOut(count, 'another boot');
    const { status, said } = await restore();
    expect([status, said.join()]).toEqual([0, expect.any(String)]);
    for (let archive = 1; archive <= count; archive++) {
      const at = archive * SECTOR;
      expect(readFileSync(target).subarray(at, at + SECTOR)).toBeBytes(old(archive));
    }
    expect(work.opens / count).toBeLessThan(12);
    expect(work.bytes / bytes).toBeLessThan(12);
  },
  SLOW,
);

it.each([20, 80])(
  'a target that only the oldest of %i archives shows to be in no known state costs one look at each',
  async (count) => {
    const bytes = await layOut(count);
    const contents = readFileSync(target);
    contents.fill('someone wrote', SECTOR, 2 * SECTOR);
    writeFileSync(target, contents);
    const { status, said } = await restore();
    expect([status, said.at(-1)]).toEqual([7, expect.stringContaining('be in a state that an archive in')]);
    expect(readFileSync(target)).toBeBytes(contents);
    expect(work.opens / count).toBeLessThan(6);
    expect(work.bytes / bytes).toBeLessThan(4);
  },
  SLOW,
);

/** Archives as receivers make them, each of other sectors, and a target from whose state they lead back; their bytes. */
async function layOut(count: number, believed?: string): Promise<number> {
  const size = (count + 1) * EXTENTS * SECTOR;
  const contents = Buffer.alloc(size);
  let bytes = 0;
  for (let archive = 1; archive <= count; archive++) {
    const sink = collectingSink();
    const writer = new FrameWriter(sink, { indexed: true });
    const time = new Date(Date.UTC(2026, 0, 1, 0, archive)).toISOString();
    await writer.start({
      ...someHeader(size),
      kind: 'undo',
      base: `S${archive}`,
      result: `S${archive - 1}`,
      time,
    });
    const offsets = Array.from({ length: EXTENTS }, (_, index) => (index * (count + 1) + archive) * SECTOR);
    for (const offset of offsets) {
      await writer.data(offset, old(archive));
      present(archive).copy(contents, offset);
    }
    const crc = crc32(present(archive));
    const writes = offsets.map((offset) => ({ offset, length: SECTOR, zeroes: false, crc }));
    await writer.announce(announced(...writes));
    await writer.finish();
    writeFileSync(join(undos, `${archive}.undo`), sink.bytes());
    bytes += sink.bytes().length;
  }
  writeFileSync(target, contents);
  // Of a target of which nothing is recorded each archive is proved over what those before it leave.
  const { key } = await targetKeyOf(target);
  mkdirSync(join(state, 'targets', key), { recursive: true });
  const record = new StateRecord(join(state, 'targets', key), { path: target, number: null });
  const doubt = believed === undefined ? {} : { believed };
  await record.write({ is: 'exactly', identity: `S${count}`, from: null, ...doubt });
  return bytes;
}
