import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, readDirectly, scatterWrites, waitUntil } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  mapperName,
  run,
  statusOf,
  writeRandom,
} from './support/lab.js';
import { expectFailure, reportOfSuspect, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-traps';
const SNAPSHOT = `${GROUP}/snap`;
const MEBIBYTE = 1024 * 1024;
const SIZE = 16 * MEBIBYTE;

let origin = '';
let target = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  origin = await createVolume(GROUP, 'origin', '16M');
  target = await createVolume(GROUP, 'target', '16M');
});

/** A fresh origin, its snapshot, and a target that holds what the snapshot froze. */
beforeEach(async () => {
  await writeRandom(origin, 0, SIZE, 'base');
  await copyDevice(origin, target);
  rmSync('/run/state/lvmsync', { recursive: true, force: true });
  await renewSnapshot();
});

async function renewSnapshot(): Promise<void> {
  await run(['bash', '-c', 'lvremove -qq -f "$1" 2>/dev/null; true', 'remove', SNAPSHOT]);
  await createSnapshot(GROUP, 'origin', 'snap', { size: '20M' });
}

async function exceptions(): Promise<number> {
  return (await statusOf(mapperName(GROUP, 'snap'), 4096)).exceptions ?? -1;
}

async function expectEqual(): Promise<void> {
  await expectSameBytes(target, origin);
}

describe('a snapshot that changed after it was made', () => {
  it('because X was written to it, and then to the origin', async () => {
    await writeRandom(`/dev/${SNAPSHOT}`, MEBIBYTE, 100_000, 'X');
    await writeRandom(origin, MEBIBYTE, 100_000, 'X');
    expect(await exceptions()).toBeGreaterThan(20);
    // its old bytes are not those of the target, which looks as if someone had written there
    const report = await reportOfSuspect(SNAPSHOT, target);
    expect(report['changedBytes']).toBeGreaterThanOrEqual(100_000);
    await expectEqual();
  });

  it('because its ext4 was mounted read-only, which replayed the journal, and later the origin’s too', async () => {
    const work = await createVolume(GROUP, 'work', '16M');
    mkdirSync('/run/traps', { recursive: true });
    await run(['mkfs.ext4', '-q', '-F', '-b', '4096', '-E', 'lazy_itable_init=0', work]);
    // committed to the journal, but not in its place
    await run(['mount', work, '/run/traps']);
    for (const name of ['a', 'b', 'c']) {
      await run(['dd', 'if=/dev/urandom', `of=/run/traps/${name}`, 'bs=64k', 'count=3', 'conv=fsync']);
    }
    await copyDevice(work, origin);
    await run(['umount', '/run/traps']);
    await copyDevice(origin, target);
    await renewSnapshot();

    await run(['mount', '-o', 'ro', `/dev/${SNAPSHOT}`, '/run/traps']);
    await run(['umount', '/run/traps']);
    const replayed = await exceptions();
    expect(replayed).toBeGreaterThan(3);
    await run(['mount', origin, '/run/traps']);
    await run(['umount', '/run/traps']);
    await reportOfSuspect(SNAPSHOT, target);
    await expectEqual();
    await run(['fsck.ext4', '-n', '-f', target]);
  });
});

describe('runs one after the other', () => {
  it('from one snapshot, with the origin taken back in between', async () => {
    await scatterWrites(origin, { unit: 4096, stride: 4, count: 50, seed: 'there' });
    await runLvmsync(SNAPSHOT, target);
    await expectEqual();
    await writeRandom(origin, 0, SIZE, 'base');
    await runLvmsync(SNAPSHOT, target);
    await expectEqual();
  });

  it('after an LVM merge took the target back behind the record', async () => {
    await createSnapshot(GROUP, 'target', 'before', { size: '20M' });
    await scatterWrites(origin, { unit: 4096, stride: 9, count: 60, seed: 'first' });
    await createSnapshot(GROUP, 'origin', 'next', { size: '20M', permission: 'r' });
    await runLvmsync(SNAPSHOT, target, '--data-source', `${GROUP}/next`);
    await expectEqual();
    const base = await digestOf(`/dev/${SNAPSHOT}`);
    await run(['lvconvert', '-qq', '--merge', `${GROUP}/before`]);
    await waitUntil('the merge is done', async () => !(await run(['lvs', GROUP])).includes('before'));
    expect(await digestOf(target)).toBe(base);

    // other blocks than those that the merge took back, which are a few of those that did not change
    await scatterWrites(origin, { unit: 4096, stride: 7, count: 30, seed: 'second' });
    await expectFailure(
      [`${GROUP}/next`, target],
      7,
      /target: something else wrote to it \(or an earlier run/,
    );
    expect(await digestOf(target)).toBe(base);
    await run(['lvremove', '-qq', '-f', `${GROUP}/next`]);
  });

  it('with changes at the target in between, all of them in what is sent again: the run says what was compared', async () => {
    await scatterWrites(origin, { unit: 4096, stride: 4, count: 50, seed: 'there' });
    await runLvmsync(SNAPSHOT, target);
    await writeRandom(target, 0, 4096, 'someone');
    const { status, stderr } = await lvmsync([SNAPSHOT, target]);
    expect({ status, stderr }).toMatchObject({ status: 11 });
    expect(stderr).toMatch(/someone wrote to it since lvmsync's last run .*: 10\d\d of 4046 blocks outside/);
    await expectEqual();
  });
});

describe('a target that does not hold the base', () => {
  beforeEach(() => scatterWrites(origin, { unit: 4096, stride: 5, count: 100, seed: 'new' }));

  it('as another volume: it is refused, and written with --force base only', async () => {
    await writeRandom(target, 0, SIZE, 'another');
    const before = await readDirectly(target, 0, SIZE);
    await expectFailure([SNAPSHOT, target], 7, /target: .*another volume.*nothing was written/);
    expect(await readDirectly(target, 0, SIZE)).toBeBytes(before);

    await runLvmsync('--force', 'base', SNAPSHOT, target);
    const now = await readDirectly(origin, 0, SIZE);
    for (let i = 0; i < 100; i++) now.copy(before, i * 5 * 4096, i * 5 * 4096, i * 5 * 4096 + 4096);
    expect(await digestOf(target)).toBe(createHash('sha256').update(before).digest('hex'));
  });

  it('in one changed block: the block is sent whole anyway, and counted', async () => {
    await writeRandom(target, 40 * 5 * 4096, 512, 'someone else');
    const { status, stderr } = await lvmsync([SNAPSHOT, target]);
    expect({ status, stderr }).toMatchObject({ status: 11 });
    expect(stderr).toMatch(/\b1 of the replaced blocks/);
    await expectEqual();
  });

  it('in one changed block: with --on-base-mismatch stop the run ends, and recover takes it back', async () => {
    await writeRandom(target, 40 * 5 * 4096, 512, 'someone else');
    const before = await digestOf(target);
    const words = ['--on-base-mismatch', 'stop', SNAPSHOT, target];
    const stderr = await expectFailure(words, 7, new RegExp(`target: .*byte ${40 * 5 * 4096}`));
    expect(stderr).toMatch(/\d+ blocks were written before/);
    const recovered = await lvmsync(['recover', target]);
    expect(recovered).toMatchObject({ status: 0 });
    expect(await digestOf(target)).toBe(before);
  });
});
