import { execFileSync } from 'node:child_process';
import {
  chownSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { DeviceError } from '../../src/errors.js';
import {
  makePrivateFolder,
  markDurably,
  openNew,
  readIfThere,
  readOwn,
  writeDurably,
} from '../../src/host/durable-file.js';
import { lockFolder } from '../../src/host/run-lock.js';

/** The folders and files that were flushed, in order. */
const synced: string[] = [];
beforeAll(async () => {
  const file = await open('/dev/null', 'r');
  const ofAll = Object.getPrototypeOf(file) as FileHandle;
  await file.close();
  // oxlint-disable-next-line typescript/unbound-method -- called with the one that is spied on
  const sync = ofAll.sync;
  vi.spyOn(ofAll, 'sync').mockImplementation(async function (this: FileHandle) {
    await sync.call(this);
    synced.push(readlinkSync(`/proc/self/fd/${this.fd}`));
  });
});
afterAll(() => {
  vi.restoreAllMocks();
});

let place = '';
const at = (name: string) => path.join(place, name);
beforeEach(() => {
  place = realpathSync(mkdtempSync(path.join(tmpdir(), 'lvmsync-durable-')));
  synced.length = 0;
});
afterEach(() => {
  rmSync(place, { recursive: true });
});

describe('a folder that is made', () => {
  it('is on stable storage with all folders that were made above it, each for its owner only', async () => {
    await makePrivateFolder(at('state/targets/LVM-x'));
    expect(synced).toEqual([place, at('state'), at('state/targets')]);
    const modes = ['state', 'state/targets', 'state/targets/LVM-x'].map((each) => statSync(at(each)).mode);
    expect(modes.map((mode) => (mode & 0o777).toString(8))).toEqual(['700', '700', '700']);
    await makePrivateFolder(at('state/targets/LVM-y'));
    expect(synced.slice(3)).toEqual([at('state/targets')]);
    await makePrivateFolder(at('state/targets/LVM-y'));
    expect(synced).toHaveLength(4);
  });

  it('for a lock is on stable storage as well', async () => {
    const holder = { what: 'a test', pid: process.pid, startedAt: new Date(0) };
    await (await lockFolder(at('targets/LVM-x'), 'the target', holder)).release();
    expect(synced).toEqual([place, at('targets')]);
  });

  it('with a relative name is found by that name', async () => {
    const relative = path.relative(process.cwd(), at('targets/../state/x/'));
    await makePrivateFolder(relative);
    expect(synced.map((each) => path.resolve(each))).toEqual([place, at('state')]);
  });

  it('in an impossible place is an error that names it', async () => {
    const making = makePrivateFolder('/dev/null/state');
    await expect(making).rejects.toThrow(DeviceError);
    await expect(making).rejects.toThrow(/^\/dev\/null\/state: write failed: ENOTDIR/);
  });
});

describe('a file in a folder that others can write to', () => {
  it('replaces a link and is never written through it, whatever lies beside it', async () => {
    writeFileSync(at('precious'), 'precious');
    for (const name of ['note.json', 'note.json.new']) symlinkSync(at('precious'), at(name));
    await writeDurably(at('note.json'), 'ours');
    expect(readFileSync(at('precious'), 'utf8')).toBe('precious');
    expect([lstatSync(at('note.json')).isFile(), readFileSync(at('note.json'), 'utf8')]).toEqual([
      true,
      'ours',
    ]);
    expect(readdirSync(place).sort()).toEqual(['note.json', 'note.json.new', 'precious']);
  });

  it('that is new is not made through a link, even if the link leads nowhere', async () => {
    symlinkSync(at('nowhere'), at('new'));
    await expect(openNew(at('new'))).rejects.toThrow(/EEXIST/);
    await markDurably(at('new'));
    expect(readdirSync(place)).toEqual(['new']);
  });
});

describe('a file that is believed in a folder that others can write to', () => {
  it('is one of our own', async () => {
    expect(await readOwn(at('note'))).toBeNull();
    writeFileSync(at('note'), 'ours');
    expect(await readOwn(at('note'))).toBe('ours');
  });

  it('is not a link', async () => {
    writeFileSync(at('elsewhere'), 'ours');
    symlinkSync(at('elsewhere'), at('note'));
    expect(await readOwn(at('note'))).toBeNull();
  });

  it.runIf(process.getuid?.() === 0)('is not a file of another user', async () => {
    writeFileSync(at('note'), 'theirs');
    chownSync(at('note'), 65_534, 65_534);
    const reading = readOwn(at('note'));
    await expect(reading).rejects.toThrow(DeviceError);
    await expect(reading).rejects.toThrow(/note: .* is owned by user 65534, not by you or root: remove it/);
  });
});

describe('a small file that is read', () => {
  it('is nothing if it does not exist', async () => {
    expect(await readIfThere(at('note'))).toBeNull();
    writeFileSync(at('note'), 'ours');
    expect(await readIfThere(at('note'))).toBe('ours');
  });

  it.each([
    ['a folder', 'mkdir'],
    ['a FIFO that nobody writes to', 'mkfifo'],
  ])('is refused at once if it is %s', async (_what, command) => {
    execFileSync(command, [at('note')]);
    for (const reading of [readIfThere(at('note')), readOwn(at('note'))]) {
      await expect(reading).rejects.toThrow(DeviceError);
      await expect(reading).rejects.toThrow(/note: read failed: it is not a regular file, .*: move it away/);
    }
  });
});
