import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readIndex } from '../../src/archive/archive-index.js';
import { withFile, openArchive } from '../../src/archive/archive.js';
import { readDurableLength } from '../../src/engine/durable-length.js';
import { readJournal } from '../../src/journal/journal-reader.js';
import { readNote } from '../../src/journal/apply-note.js';
import { Journal } from '../../src/journal/journal.js';
import { patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';

const SECTOR = 512;
/** So many that index frames were written before the log was cut short, and after. */
const BLOCKS = 4096 + 300;
const SIZE = 2 * BLOCKS * SECTOR;

let folder = '';
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-kept-log-'))));
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function save(journal: Journal, target: MemoryDevice, from: number, to: number): Promise<void> {
  for (let block = from; block < to; block++) {
    await journal.log.save(target, [{ offset: 2 * block * SECTOR, length: SECTOR }]);
  }
}

const resumePoint = { token: Buffer.from('here'), changedBytes: 1, mismatches: 2, doubts: 3 };
const BEFORE = { is: 'exactly', identity: 'A', from: null } as const;

it('a snapback that an apply continued has an index of all its blocks', async () => {
  const target = new MemoryDevice(patterned(SIZE));
  const snapback = join(folder, 'undo');
  const header = undoFor(SIZE, SECTOR);
  const first = await Journal.begin(folder, header, snapback, { before: BEFORE, device: null });
  await save(first, target, 0, 4096 + 100);
  await first.log.markResumePoint(resumePoint);
  // Cut off again: none of it may show in the index.
  await save(first, target, 4096 + 100, BLOCKS);
  await first.abandon(true, null, null);

  const note = await readNote(folder);
  if (note === null) throw new Error('no note');
  const { resumePlace, ...contents } = await readJournal(note.log, await readDurableLength(folder));
  if (resumePlace === null) throw new Error('no place');
  expect(resumePlace.point).toEqual(resumePoint);
  const second = await Journal.continue(folder, note, { ...contents, place: resumePlace });
  expect(second.before).toEqual(BEFORE);
  await save(second, target, 4096 + 150, BLOCKS);
  await second.commit();

  expect(await withFile(snapback, (random) => readIndex(random, SIZE))).not.toBeNull();
  const { extents } = await openArchive(snapback);
  const offsets = [...extents].map(({ offset }) => offset / SECTOR / 2);
  expect(offsets).toHaveLength(BLOCKS - 50);
  expect(offsets.slice(4095, 4102)).toEqual([4095, 4096, 4097, 4098, 4099, 4100, 4101]);
  expect(offsets[4200]).toBe(4096 + 154);
});

it('a journal that is removed when the apply is done has no index', async () => {
  const target = new MemoryDevice(patterned(SIZE));
  const journal = await Journal.begin(folder, undoFor(SIZE, SECTOR), null);
  await save(journal, target, 0, 10);
  await journal.log.end();
  expect(await withFile(journal.log.path, (random) => readIndex(random, SIZE))).toBeNull();
  await journal.log.close();
});
