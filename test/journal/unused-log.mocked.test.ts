import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { UndoLog } from '../../src/engine/undo-log.js';
import { DeviceError, UsageError } from '../../src/errors.js';
import { Journal } from '../../src/journal/journal.js';
import { patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { refusedName } from '../support/refused-rename.js';

vi.mock('node:fs/promises', async (importOriginal) =>
  (await import('../support/refused-rename.js')).refuseRename(importOriginal),
);

const SIZE = 64 * 1024;
const HEADER = { ...undoFor(SIZE, 4096), names: { source: '/dev/t' } };
let [parent, folder, snapback, partial] = ['', '', '', ''];
beforeEach(() => {
  refusedName.path = '';
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-unused-'));
  folder = join(parent, 'folder');
  mkdirSync(folder);
  snapback = join(parent, 'undo');
  partial = `${snapback}.partial`;
});
afterEach(() => {
  rmSync(parent, { recursive: true });
});

/** A log as it is left by a crash before there is a note of it, or after old bytes were put in it. */
async function leave(header = HEADER, saved = 0): Promise<void> {
  const log = await UndoLog.create(partial, join(parent, 'length'), header, true);
  if (saved > 0) await log.save(new MemoryDevice(patterned(SIZE)), [{ offset: 0, length: saved }]);
  await log.close();
}

/** Those of this test, which is not alone in its process. */
const openFiles = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(parent);
    } catch {
      // the one that lists them
      return false;
    }
  });

it('a snapback whose note cannot be written is not left behind', async () => {
  refusedName.path = join(folder, 'apply.json');
  await expect(Journal.begin(folder, HEADER, snapback)).rejects.toThrow(DeviceError);
  expect(existsSync(partial)).toBe(false);
  expect(openFiles()).toEqual([]);
});

it('a snapback whose length cannot be recorded is not left behind', async () => {
  refusedName.path = join(folder, 'apply.length');
  await expect(Journal.begin(folder, HEADER, snapback)).rejects.toThrow(DeviceError);
  expect(existsSync(partial)).toBe(false);
  expect(openFiles()).toEqual([]);
});

it('a journal that a crash left before its note was written is replaced', async () => {
  await leave();
  const journal = await Journal.begin(folder, { ...HEADER, time: '2026-02-02T00:00:00.000Z' }, snapback);
  await journal.commit();
  expect([existsSync(partial), readFileSync(snapback, 'latin1')]).toEqual([
    false,
    expect.stringContaining('2026-02-02'),
  ]);
});

it.each<[string, () => Promise<void> | void]>([
  ['that holds old bytes', () => leave(HEADER, 4096)],
  ['of another target', () => leave({ ...HEADER, names: { source: '/dev/other' } })],
  ['of another host', () => leave({ ...HEADER, host: 'there' })],
  [
    'that is no log',
    () => {
      writeFileSync(partial, 'precious');
    },
  ],
  [
    'that is empty',
    () => {
      writeFileSync(partial, '');
    },
  ],
  [
    'with something behind its header',
    async () => {
      await leave();
      writeFileSync(partial, 'x', { flag: 'a' });
    },
  ],
])('a journal %s is not replaced', async (_what, prepare) => {
  await prepare();
  const before = readFileSync(partial);
  const beginning = Journal.begin(folder, HEADER, snapback);
  await expect(beginning).rejects.toThrow(UsageError);
  await expect(beginning).rejects.toThrow(/unfinished snapback is here: recover its target first/);
  expect(readFileSync(partial)).toBeBytes(before);
});
