import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandError, SnapshotError } from '../../src/errors.js';
import type { CommandResult, Spawner } from '../../src/host/spawner.js';
import { makeTemporarySnapshot, removeLeftOvers } from '../../src/snapshots/temporary-snapshot.js';
import { askedFor } from '../support/lvm-words.js';
import { quietSurroundings } from '../support/surroundings.js';

const VOLUME = { fullName: 'no-vg/vol', group: 'no-vg', poolName: 'no-vg/pool', origin: null };
const NOT_FOUND = '  Failed to find logical volume "no-vg/x"';

/** A volume group whose temporary snapshots come and go, but have no nodes under /dev. */
class FakeGroup implements Spawner {
  readonly snapshots = new Set<string>();
  canCreate = true;
  canRemove = true;
  /** What LVM says of whether they are active. */
  active = 'active';
  /** Happens when all are listed, after the answer was made. */
  afterListing: () => void = () => undefined;

  run(argv: readonly [string, ...string[]]): Promise<CommandResult> {
    const name = askedFor(argv).replace('no-vg/', '');
    switch (argv[0]) {
      case 'lvcreate':
        if (!this.canCreate) return answer(5, '', '  no room');
        this.snapshots.add(argv[argv.indexOf('--name') + 1] ?? '');
        return answer(0);
      case 'lvremove':
        if (!this.canRemove) return answer(5, '', '  no such luck');
        return this.snapshots.delete(name) ? answer(0) : answer(5, '', NOT_FOUND);
      case 'lvs': {
        if (name !== 'no-vg') return list(this.snapshots.has(name) ? [name] : [], this.active);
        const listed = list([...this.snapshots], this.active);
        this.afterListing();
        return listed;
      }
      default:
        throw new Error(`${argv.join(' ')}: nobody asks that here`);
    }
  }

  start(): never {
    throw new Error('nothing is started here');
  }
}

function answer(status: number, stdout = '', stderr = ''): Promise<CommandResult> {
  return Promise.resolve({ status, stdout, stderr });
}

let stateDir = '';
let group = new FakeGroup();
let env = quietSurroundings();
beforeEach(async () => {
  stateDir = await mkdtemp(path.join(tmpdir(), 'lvmsync-temporary-'));
  group = new FakeGroup();
  env = { ...quietSurroundings(group), stateDir };
});
afterEach(() => rm(stateDir, { recursive: true }));

const claims = () => readdir(path.join(stateDir, 'temporary', 'no-vg'));

/** One that is made, but has no node, fails, and goes again: here it cannot. */
async function leaveOne(): Promise<string> {
  group.canRemove = false;
  await expect(makeTemporarySnapshot(VOLUME, env)).rejects.toThrow(SnapshotError);
  group.canRemove = true;
  return [...group.snapshots].join();
}

describe('a temporary snapshot', () => {
  it('that fails is removed with its claim, and the error says what went wrong', async () => {
    await expect(makeTemporarySnapshot(VOLUME, env)).rejects.toThrow(/no node under \/dev/);
    expect([[...group.snapshots], await claims(), env.notices]).toEqual([[], [], []]);
  });

  it('that LVM makes but does not activate is reported with the name of the volume that the user knows', async () => {
    group.active = '';
    const making = makeTemporarySnapshot(VOLUME, env);
    await expect(making).rejects.toThrow(SnapshotError);
    await expect(making).rejects.toThrow(
      /^no-vg\/vol: in use, so lvmsync reads it from a temporary snapshot; .*volume_list.*: add "@lvmsync.temporary" to that list, or make a snapshot/,
    );
    expect([...group.snapshots]).toEqual([]);
  });

  it('that LVM did not make leaves no claim', async () => {
    group.canCreate = false;
    await expect(makeTemporarySnapshot(VOLUME, env)).rejects.toThrow(/no room/);
    expect([await claims(), env.notices]).toEqual([[], []]);
  });

  it('that cannot be removed is reported, stays claimed, and is removed by the next run', async () => {
    const left = await leaveOne();
    expect(await claims()).toEqual([left]);
    expect(env.notices).toEqual([
      expect.stringMatching(/^no-vg\/lvmsync-tmp-[0-9a-f]{8}: this temporary snapshot could not be removed/),
    ]);
    group.canRemove = false;
    await expect(removeLeftOvers('no-vg', env)).rejects.toThrow(CommandError);
    expect(await claims()).toEqual([left]);
    group.canRemove = true;
    await removeLeftOvers('no-vg', env);
    expect([[...group.snapshots], await claims()]).toEqual([[], []]);
    expect(env.notices.at(-1)).toBe(`no-vg/${left}: removed; a killed run had left it behind`);
  });

  it('of an unknown run is named, and stays', async () => {
    group.snapshots.add('lvmsync-tmp-another');
    await removeLeftOvers('no-vg', env);
    expect(env.notices).toEqual([expect.stringMatching(/another: .*is not recorded.*lvremove/)]);
    expect(group.snapshots.size).toBe(1);
  });

  it.each([
    ['together with its claim', true],
    ['before its claim', false],
  ])('that disappears %s while others look for left-overs is not reported', async (_, isClaimGone) => {
    const left = await leaveOne();
    env.notices.length = 0;
    if (isClaimGone) await rm(path.join(stateDir, 'temporary', 'no-vg', left), { recursive: true });
    group.afterListing = () => {
      group.snapshots.clear();
    };
    await removeLeftOvers('no-vg', env);
    expect([env.notices, await claims()]).toEqual([[], []]);
  });
});

function list(names: readonly string[], active: string): Promise<CommandResult> {
  const rows = names.map((name) => ({
    ...{
      lv_name: name,
      vg_name: 'no-vg',
      lv_full_name: `no-vg/${name}`,
      lv_active: active,
      lv_merging: '',
      lv_attr: 'Vwi-a-tz--',
    },
  }));
  return answer(0, JSON.stringify({ report: [{ lv: rows }] }));
}
