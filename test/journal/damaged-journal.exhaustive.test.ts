import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recoverTarget } from '../../src/apply/recover.js';
import { Applier } from '../../src/engine/applier.js';
import { readDurableLength } from '../../src/engine/durable-length.js';
import { LostJournalError } from '../../src/errors.js';
import { readJournal } from '../../src/journal/journal-reader.js';
import { Journal } from '../../src/journal/journal.js';
import { OldBytes } from '../../src/journal/old-bytes.js';
import { applyBlock, dataBlock, patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { framesOf } from '../support/scenes/reframe.js';
import { pool } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const SIZE = 64 * 1024;
/** Each run flushes files for real, on whatever disk there is. */
const SLOWLY = { timeout: 60_000 };
let parent: string;

beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-damaged-journal-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

/** A target and an apply to it, of many batches, that has been begun. */
async function begin() {
  const device = new MemoryDevice(patterned(SIZE), '/dev/t');
  const target = openInMemory(device, parent);
  const journal = await Journal.begin(target.folder, undoFor(SIZE, 4096), null);
  const applier = new Applier(device, { log: journal.log, lendOld: pool(), groupBytes: 8192 });
  return { device, target, journal, applier };
}

function flipByte(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
}

type Change = (log: string, folder: string) => void;
const flipped =
  (at: number): Change =>
  (log) => {
    flipByte(log, at);
  };
const cutAt =
  (length: number): Change =>
  (log) => {
    truncateSync(log, length);
  };
const followedBy =
  (bytes: Buffer): Change =>
  (log) => {
    appendFileSync(log, bytes);
  };

/** How long a journal is, and where its frames end. */
async function sizeOf(recoverWith: (change: Change) => Promise<boolean>) {
  let bytes = Buffer.alloc(0);
  expect(await recoverWith((log) => (bytes = readFileSync(log)))).toBe(true);
  return { size: bytes.length, ends: [...framesOf(bytes).slice(1), bytes.length] };
}

describe('a journal of batches that were all flushed and written', () => {
  /** Leaves an apply, changes its journal, and recovers; resolves to whether that took the target back. */
  async function recoverWith(change: Change): Promise<boolean> {
    const { applier, journal, device, target } = await begin();
    for (let at = 0; at < SIZE; at += 8192) await applyBlock(applier, dataBlock(at, 4096, 1));
    await applier.finish();
    await journal.abandon(true, null, null);
    const { path } = journal.log;
    change(path, target.folder);
    const before = Buffer.from(device.bytes);
    const outcome = await recoverTarget(target, quietSurroundings()).catch((error: unknown) => error);
    if (!(outcome instanceof Error)) {
      expect(device.bytes).toBeBytes(patterned(SIZE));
      return true;
    }
    expect(outcome).toBeInstanceOf(LostJournalError);
    expect(outcome.message).toMatch(
      /the target cannot be recovered, and may be half-written: copy the whole volume/,
    );
    expect(device.bytes).toBeBytes(before);
    expect(existsSync(path)).toBe(true);
    return false;
  }

  it('with a damaged byte anywhere is not taken for a torn tail', SLOWLY, async () => {
    const { size } = await sizeOf(recoverWith);
    for (let at = 3; at < size; at += 599) {
      expect(await recoverWith(flipped(at)), `byte ${at} of ${size}`).toBe(false);
    }
    expect(await recoverWith(flipped(size - 1))).toBe(false);
  });

  it('that was shortened is not either, wherever it ends', SLOWLY, async () => {
    const { size, ends } = await sizeOf(recoverWith);
    for (const length of [0, 5, 100, ...ends.slice(0, -1), size - 1000, size - 1]) {
      expect(await recoverWith(cutAt(length)), `${length} of ${size}`).toBe(false);
    }
  });

  it('with something behind it is', SLOWLY, async () => {
    expect(await recoverWith(followedBy(Buffer.alloc(100_000)))).toBe(true);
    expect(await recoverWith(followedBy(Buffer.alloc(5, 'x')))).toBe(true);
  });

  it('of which nobody knows how long it was is not used', SLOWLY, async () => {
    const nowhere: Change = (_log, folder) => {
      rmSync(join(folder, 'apply.length'));
    };
    expect(await recoverWith(nowhere)).toBe(false);
    const wrong: Change = (_log, folder) => {
      flipByte(join(folder, 'apply.length'), 15);
    };
    expect(await recoverWith(wrong)).toBe(false);
  });
});

it('a journal that changes between two looks at it is not written back from', async () => {
  const { applier, journal, device, target } = await begin();
  await applyBlock(applier, dataBlock(0, 8192, 1));
  await applier.finish();
  await journal.log.close();
  const contents = await readJournal(journal.log.path, await readDurableLength(target.folder));
  const [saved] = contents.saved;
  const file = await open(journal.log.path, 'r');
  const read = () => new OldBytes(file, journal.log.path, contents.saved).read({ offset: 0, length: 512 });
  expect(await read()).toBeBytes(patterned(SIZE).subarray(0, 512));
  flipByte(journal.log.path, (saved?.position ?? NaN) + 5000);
  await expect(read()).rejects.toThrow(/it changed while it was read/);
  truncateSync(journal.log.path, (saved?.position ?? NaN) + 5000);
  await expect(read()).rejects.toThrow(LostJournalError);
  await file.close();
  expect(device.bytes[0]).toBe(1);
});
