import { mkdirSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, scatterWrites } from './support/devices.js';
import { createSnapshot, createVolume, digestOf, lvmsync, run, writeRandom } from './support/lab.js';
import { expectFailure, reportOf, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';
import { startWriter } from './support/writer.js';

const GROUP = 'vg-data';
const MEBIBYTE = 1024 * 1024;
const SIZE = 16 * MEBIBYTE;
const [OLD, NEW] = [`${GROUP}/old`, `${GROUP}/new`];

let origin = '';
let target = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  origin = await createVolume(GROUP, 'origin', '16M');
  target = await createVolume(GROUP, 'target', '16M');
});

/** What an earlier test found of its target is nothing to the next one. */
beforeEach(async () => {
  rmSync('/run/state/lvmsync', { recursive: true, force: true });
  await writeRandom(origin, 0, SIZE, 'base');
});
afterEach(() => run(['bash', '-c', 'lvremove -qq -y "$1"/old "$1"/new; true', 'remove', GROUP]));

/** Two snapshots with changes before, between and after them, and a target that holds what one of them shows. */
async function freeze(chunks: readonly [string, string]): Promise<void> {
  await createSnapshot(GROUP, 'origin', 'old', { size: '20M', chunkSize: chunks[0] });
  await scatterWrites(origin, { unit: 4096, stride: 5, count: 100, seed: 'between' });
  await writeRandom(origin, 12 * MEBIBYTE, 4096, 'between, and not after');
  // LVM tells their times by seconds
  await pause(1100);
  await createSnapshot(GROUP, 'origin', 'new', { size: '20M', chunkSize: chunks[1] });
  await scatterWrites(origin, { unit: 4096, stride: 7, count: 100, seed: 'after' });
}

async function expectShown(snapshot: string): Promise<void> {
  await expectSameBytes(target, `/dev/${snapshot}`);
}

describe('a data source that is older than the snapshot', () => {
  it.each([
    ['4k', '4k'],
    ['4k', '64k'],
  ])('is refused, because the arguments were swapped (chunks of %s, then %s)', async (...chunks) => {
    await freeze(chunks);
    await copyDevice(`/dev/${NEW}`, target);
    const before = await digestOf(target);
    const words = [NEW, target, '--data-source', OLD];
    await expectFailure(
      words,
      2,
      /--data-source vg-data\/old: it is older than vg-data\/new, and the volume changed/,
    );
    expect(await digestOf(target)).toBe(before);
  });
});

describe('a second snapshot that changed after it was made', () => {
  it('because it was written to: everything that was written is sent', async () => {
    await freeze(['4k', '4k']);
    await writeRandom(`/dev/${NEW}`, 8 * MEBIBYTE, 100_000, 'X');
    await copyDevice(`/dev/${OLD}`, target);
    expect(await reportOf(OLD, target, '--data-source', NEW)).toMatchObject({ consistent: true });
    await expectShown(NEW);
  });

  it('because its ext4 was mounted read-only, which replayed the journal', async () => {
    await run(['mkfs.ext4', '-q', '-F', '-b', '4096', '-E', 'lazy_itable_init=0', origin]);
    mkdirSync('/run/data-source', { recursive: true });
    await run(['mount', origin, '/run/data-source']);
    await createSnapshot(GROUP, 'origin', 'old', { size: '20M' });
    for (const name of ['a', 'b', 'c']) {
      await run(['dd', 'if=/dev/urandom', `of=/run/data-source/${name}`, 'bs=64k', 'count=3', 'conv=fsync']);
    }
    await createSnapshot(GROUP, 'origin', 'new', { size: '20M' });
    await run(['umount', '/run/data-source']);
    await run(['mount', '-o', 'ro', `/dev/${NEW}`, '/run/data-source']);
    await run(['umount', '/run/data-source']);
    await copyDevice(`/dev/${OLD}`, target);
    await runLvmsync(OLD, target, '--data-source', NEW);
    await expectShown(NEW);
    await run(['fsck.ext4', '-n', '-f', target]);
  });

  it('is not a point-in-time copy while someone has it open for writing, and the summary says so', async () => {
    await freeze(['4k', '4k']);
    await copyDevice(`/dev/${OLD}`, target);
    const writer = await startWriter(`/dev/${NEW}`, SIZE);
    try {
      const { status, stderr } = await lvmsync([OLD, target, '--data-source', NEW]);
      expect({ status, stderr }).toEqual({
        status: 0,
        stderr: expect.stringMatching(/warning: .*not a consistent point-in-time copy/) as string,
      });
    } finally {
      await writer.stop();
    }
    // What the writer's run brought may be more than the two tables name now.
    await expectFailure([OLD, target, '--data-source', NEW], 7, /this stream may not cover all/);
    const report = await reportOf(OLD, target, '--data-source', NEW, '--force=base');
    expect(report).toMatchObject({ consistent: true });
    await expectShown(NEW);
  });
});

describe('a read-only second snapshot of an origin that is written all the time', () => {
  it.each([
    ['4k', '64k'],
    ['64k', '4k'],
  ])('is sent as it is, without a warning (chunks of %s and %s)', async (...chunks) => {
    await createSnapshot(GROUP, 'origin', 'old', { size: '20M', chunkSize: chunks[0] });
    await copyDevice(`/dev/${OLD}`, target);
    const writer = await startWriter(origin, SIZE);
    try {
      await createSnapshot(GROUP, 'origin', 'new', { size: '20M', chunkSize: chunks[1], permission: 'r' });
      const { status, stderr } = await lvmsync([OLD, target, '--data-source', NEW]);
      expect({ status, stderr }).toEqual({
        status: 0,
        stderr: expect.not.stringMatching(/older|point-in-time/) as string,
      });
    } finally {
      await writer.stop();
    }
    await expectShown(NEW);
  });
});
