import { mkdtemp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  CommandError,
  DeviceError,
  FormatError,
  InterruptedError,
  LockedError,
  SnapshotError,
} from '../../src/errors.js';
import type { Surroundings } from '../../src/host/surroundings.js';
import { withMetadataSnapshot } from '../../src/snapshots/metadata-snapshot.js';
import { FakePool, POOL } from '../support/fake-pool.js';
import { refusedName } from '../support/refused-rename.js';
import { quietSurroundings } from '../support/surroundings.js';

vi.mock('node:fs/promises', async (importOriginal) =>
  (await import('../support/refused-rename.js')).refuseRename(importOriginal),
);

const RESERVE = 'reserve_metadata_snap';
const RELEASE = 'release_metadata_snap';

let stateDir = '';
let pool = new FakePool();
let env: Surroundings;
beforeEach(async () => {
  refusedName.path = '';
  stateDir = await mkdtemp(path.join(tmpdir(), 'lvmsync-pool-'));
  pool = new FakePool();
  env = { ...quietSurroundings(pool), stateDir };
});
afterEach(() => rm(stateDir, { recursive: true }));

const work = (doing: () => unknown) =>
  withMetadataSnapshot(POOL, 'a test', env, async () => await Promise.resolve(doing()));

/** What lies in the pool's folder beside the lock. */
async function notes(): Promise<string[]> {
  return (await readdir(path.join(stateDir, 'pools', POOL.key))).filter((name) => name !== 'lock');
}

/** A note as a run leaves it that is killed. */
async function leaveNote(text: string): Promise<void> {
  const folder = path.join(stateDir, 'pools', POOL.key);
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'metadata-snapshot.json'), text);
}

describe('a pool’s metadata snapshot', () => {
  it('is taken for the work, and released after it', async () => {
    expect(await work(() => pool.heldRoot)).toBe(48);
    expect(pool.messages).toEqual([RESERVE, RELEASE]);
    expect(await notes()).toEqual([]);
    expect(await work(() => pool.heldRoot)).toBe(56);
  });

  it.each([new InterruptedError('SIGTERM'), new CommandError(['thin_delta'], 'failed', { status: 1 })])(
    'is given back where the work fails: %s',
    async (failure) => {
      const working = work(() => {
        throw failure;
      });
      await expect(working).rejects.toBe(failure);
      expect(pool.messages).toEqual([RESERVE, RELEASE]);
      expect(await notes()).toEqual([]);
    },
  );

  it.each([
    ['no note', null],
    ['a note of another one', '{"root":40}'],
    ['a note that nobody can read', '{"root":'],
  ])('that is held, with %s, is a stranger’s: neither read nor given back', async (_, note) => {
    const root = pool.reserveAnew();
    if (note !== null) await leaveNote(note);
    const working = work(() => {
      throw new Error('never');
    });
    await expect(working).rejects.toThrow(LockedError);
    await expect(working).rejects.toThrow(
      /^the thin pool vg-pool-tpool is locked by a metadata snapshot \(root block 48\) that lvmsync did not reserve: .*"dmsetup message vg-pool-tpool 0 release_metadata_snap"/,
    );
    expect(pool).toMatchObject({ heldRoot: root, messages: [] });
  });

  it.each([
    ['after it had noted the root', '{"root":48}'],
    ['before it could note the root', '{"root":null}'],
  ])('that a run left, killed %s, is given back and never read', async (_, note) => {
    const left = pool.reserveAnew();
    await leaveNote(note);
    expect(await work(() => pool.heldRoot)).not.toBe(left);
    expect(pool.messages).toEqual([RELEASE, RESERVE, RELEASE]);
    expect(await notes()).toEqual([]);
  });

  it.each([
    ['runs out of space', () => (pool.mode = 'out_of_data_space'), /out of data space/],
    ['comes to need a check', () => (pool.needsCheck = true), /needs a check/],
  ])('is given back by a pool that %s meanwhile', async (_, happens, message) => {
    await expect(work(happens)).rejects.toThrow(message);
    expect(pool).toMatchObject({ heldRoot: null, messages: [RESERVE, RELEASE] });
    expect(await notes()).toEqual([]);
  });

  it('stays noted where a pool that became read-only takes no more messages, and is given back later', async () => {
    await expect(work(() => (pool.mode = 'ro'))).rejects.toThrow(/it is read-only/);
    expect([pool.heldRoot, await notes()]).toEqual([48, ['metadata-snapshot.json']]);
    await expect(work(() => undefined)).rejects.toThrow(CommandError);
    pool.mode = 'rw';
    expect(await work(() => pool.heldRoot)).toBe(56);
    expect([pool.heldRoot, await notes()]).toEqual([null, []]);
  });

  it('that a killed run left is released even if the pool is out of space, and no new one is taken', async () => {
    pool.reserveAnew();
    await leaveNote('{"root":48}');
    pool.mode = 'out_of_data_space';
    await expect(work(() => undefined)).rejects.toThrow(/out of data space/);
    expect(pool).toMatchObject({ heldRoot: null, messages: [RELEASE] });
    expect(await notes()).toEqual([]);
  });

  it('is released if its root cannot be noted', async () => {
    const note = path.join(stateDir, 'pools', POOL.key, 'metadata-snapshot.json');
    pool.atReserve = () => {
      refusedName.path = note;
    };
    await expect(work(() => undefined)).rejects.toThrow(DeviceError);
    expect(pool).toMatchObject({ heldRoot: null, messages: [RESERVE, RELEASE] });
    expect(await notes()).toEqual([]);
  });

  it('that is no longer held leaves only its note, which is removed', async () => {
    await leaveNote('{"root":48}');
    await work(() => undefined);
    expect(pool.messages).toEqual([RESERVE, RELEASE]);
    expect(await notes()).toEqual([]);
  });

  it('that someone else released meanwhile is not trusted, and a new one of theirs stays', async () => {
    const working = work(() => pool.reserveAnew());
    await expect(working).rejects.toThrow(SnapshotError);
    await expect(working).rejects.toThrow(/another program released the metadata snapshot while it was read/);
    expect(pool.messages).toEqual([RESERVE]);
    expect(pool.heldRoot).toBe(56);
    expect(await notes()).toEqual([]);
  });

  it.each([
    ['damaged', new SnapshotError(POOL.dmName, 'its metadata are damaged')],
    ['nonsense', new FormatError('thin_delta', 0, 'thin_delta output', 'nonsense')],
  ])('that someone else gave back meanwhile is why what was read is %s', async (_, failure) => {
    const working = work(() => {
      pool.reserveAnew();
      throw failure;
    });
    await expect(working).rejects.toThrow(
      /another program released the metadata snapshot while it was read: run lvmsync again$/,
    );
    await expect(working).rejects.toMatchObject({ cause: failure });
    expect(pool).toMatchObject({ heldRoot: 56, messages: [RESERVE] });
  });

  it('that someone else released does not hide that a run was stopped', async () => {
    const stopped = new InterruptedError('SIGTERM');
    const working = work(() => {
      pool.reserveAnew();
      throw stopped;
    });
    await expect(working).rejects.toBe(stopped);
  });

  it('is held for one run at a time: the next one waits', async () => {
    const order: string[] = [];
    const hold = (name: string) => async () => {
      order.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, 50));
      order.push(`${name} ends`);
    };
    await Promise.all(['a', 'b'].map((name) => withMetadataSnapshot(POOL, name, env, hold(name))));
    const [first = '', second = ''] = order[0] === 'a begins' ? ['a', 'b'] : ['b', 'a'];
    expect(order).toEqual([`${first} begins`, `${first} ends`, `${second} begins`, `${second} ends`]);
  });
});
