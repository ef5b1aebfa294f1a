import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

/** What the file system says of itself, where a test says it. */
const told = vi.hoisted(() => ({ room: null as Record<string, number> | null, locks: true }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return { ...real, statfs: async (at: string) => Object.assign(await real.statfs(at), told.room) };
});
vi.mock('../../src/host/system-calls.js', async (original) => {
  const real = await original<typeof import('../../src/host/system-calls.js')>();
  const isByteLocked = () =>
    told.locks ? Promise.resolve(false) : Promise.reject(new Error('ENOLCK: no locks available, fcntl'));
  return { ...real, isByteLocked };
});
const { examineStateDir } = await import('../../src/doctor/examine-state-dir.js');

const MIB = 1024 * 1024;
const EXT4 = 0xef53;
/** 100 GiB, half of it free. */
const GOOD = { type: EXT4, bsize: MIB, blocks: 102_400, bavail: 51_200, files: 1000, ffree: 500 };

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'doctor-state-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
afterEach(() => {
  told.room = null;
  told.locks = true;
});

function makeDir(name: string): string {
  const made = path.join(folder, name);
  mkdirSync(made, { mode: 0o700, recursive: true });
  return made;
}

describe('the state directory', () => {
  it('is fine if it is private, or can be made; nothing is made', async () => {
    told.room = GOOD;
    const there = makeDir('there');
    expect(await examineStateDir(there)).toEqual([
      {
        check: 'state directory',
        verdict: 'ok',
        text: `${there} is there, 51200 MiB are free`,
        advice: null,
      },
    ]);
    const missing = path.join(folder, 'a/b');
    expect(await examineStateDir(missing)).toMatchObject([
      { text: `${missing} can be made, 51200 MiB are free` },
    ]);
    await expect(import('node:fs/promises').then((fs) => fs.stat(path.join(folder, 'a')))).rejects.toThrow(
      /ENOENT/,
    );
  });

  it('is a problem if it cannot be made', async () => {
    writeFileSync(path.join(folder, 'file'), '');
    expect(await examineStateDir(path.join(folder, 'file/x'))).toMatchObject([
      { verdict: 'problem', text: `${path.join(folder, 'file')} is not a directory` },
    ]);
  });

  it('is a warning if others can look into it', async () => {
    told.room = GOOD;
    const open = makeDir('open');
    chmodSync(open, 0o755);
    expect(await examineStateDir(open)).toMatchObject([{ verdict: 'warning', advice: `chmod 700 ${open}` }]);
  });

  it.each([
    ['full', { bavail: 3 }, 'problem', /of 102400 MiB, 3 MiB are free: no journal can be begun/],
    ['without an inode', { ffree: 0 }, 'problem', /no inode is: no file can be made/],
    ['nearly full', { bavail: 1000 }, 'warning', /of 102400 MiB, 1000 MiB are free/],
    ['too small', { blocks: 12, bavail: 12 }, 'warning', /of 12 MiB, 12 MiB are free/],
    [
      'in memory',
      { type: 0x01021994 },
      'warning',
      /lies in memory: a reboot or a crash takes journals with it/,
    ],
    ['on NFS', { type: 0x6969 }, 'warning', /lies on NFS: locks and flushes are only as good as the server/],
  ])('is reported if its file system is %s', async (name, room, verdict, text) => {
    told.room = { ...GOOD, ...room };
    const found = await examineStateDir(makeDir(name));
    expect(found).toMatchObject([
      {
        verdict,
        text: expect.stringMatching(text) as string,
        advice: expect.stringMatching(/--state-dir/) as string,
      },
    ]);
  });

  it('is reported with all its faults, not only the first', async () => {
    told.room = { ...GOOD, type: 0x01021994, bavail: 3 };
    expect((await examineStateDir(makeDir('both'))).map((each) => each.verdict)).toEqual([
      'problem',
      'warning',
    ]);
  });

  it('is a problem if no file can be locked', async () => {
    told.room = GOOD;
    const place = makeDir('unlocked');
    writeFileSync(path.join(makeDir('unlocked/targets/LVM-x'), 'lock'), '');
    expect(await examineStateDir(place)).toMatchObject([{ verdict: 'ok' }]);
    told.locks = false;
    expect(await examineStateDir(place)).toMatchObject([
      {
        verdict: 'problem',
        text: `files in ${place} cannot be locked (ENOLCK: no locks available): two runs could write one target`,
      },
    ]);
  });
});
