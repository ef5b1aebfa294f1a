import { existsSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  copyDevice,
  mapDevice,
  readDirectly,
  realNodeOf,
  scatterWrites,
  unmapDevices,
} from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  mapperName,
  run,
  seededBytes,
  writeRandom,
} from './support/lab.js';
import { expectFailure, reportOf, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'my-vg.0';
const SIZE = 16 * 1024 * 1024;
const KIBIBYTE = 1024;

let target = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  await run(['pvcreate', '-qq', '-ff', '-y', '/dev/ubdb']);
  await run(['vgextend', '-qq', GROUP, '/dev/ubdb']);
  target = await createVolume(GROUP, 'target', '16M');
});

/** Makes the target what the snapshot froze. */
async function resetTarget(snapshot: string): Promise<void> {
  await copyDevice(snapshot, target);
}

describe('a snapshot of an LVM volume with an odd name', () => {
  const origin = `/dev/${GROUP}/lv-a.b+c`;
  const snapshot = `/dev/${GROUP}/snap--x.+`;

  beforeAll(async () => {
    await createVolume(GROUP, 'lv-a.b+c', '16M');
    await writeRandom(origin, 0, SIZE, 'base');
    await createSnapshot(GROUP, 'lv-a.b+c', 'snap--x.+', { size: '8M' });
  });
  beforeEach(() => resetTarget(snapshot));

  it('has nothing to send if nothing changed', async () => {
    const before = await digestOf(target);
    const report = await reportOf(`${GROUP}/snap--x.+`, target);
    expect(report).toMatchObject({ tableBytes: 0, changedBytes: 0, blocks: 0, consistent: true });
    expect(await digestOf(target)).toBe(before);
    expect(await digestOf(origin)).toBe(before);
  });

  it.each([
    ['vg/lv', () => `${GROUP}/snap--x.+`],
    ['/dev/mapper/…', () => `/dev/mapper/${mapperName(GROUP, 'snap--x.+')}`],
    ['the kernel’s own node', () => realNodeOf(snapshot)],
  ])('is found as %s, and the target becomes equal to the origin', async (form, nameOf) => {
    await writeRandom(origin, 40 * KIBIBYTE, 100 * KIBIBYTE, form);
    await writeRandom(origin, SIZE - 4096, 4096, form);
    expect(await digestOf(target)).not.toBe(await digestOf(origin));
    await runLvmsync(nameOf(), target);
    await expectSameBytes(target, origin);
  });

  it('is reported with what its table lists, what was sent, and how long it took', async () => {
    // a record that went stale, as the target was reset, would call for more proofs
    rmSync('/run/state/lvmsync', { recursive: true, force: true });
    // some zeroes, which are sent without their bytes
    await run(['blkdiscard', '-z', '-o', String(8 << 20), '-l', String(1 << 20), origin]);
    const report = await reportOf(`${GROUP}/snap--x.+`, target);
    const changed = (100 + 4 + 1024) * KIBIBYTE;
    expect(report).toEqual({
      tableBytes: changed,
      changedBytes: changed,
      resumedBytes: 0,
      sentBytes: expect.any(Number) as number,
      blocks: expect.any(Number) as number,
      seconds: expect.any(Number) as number,
      source: `${GROUP}/snap--x.+`,
      target,
      ...{ consistent: true, quiesced: false },
      mismatches: 0,
      suspect: null,
      // all that was written, of which the record says since when
      verified: expect.objectContaining({ bytes: expect.any(Number) as number }) as object,
      codec: null,
    });
    expect(report['sentBytes']).toBeGreaterThanOrEqual(104 * KIBIBYTE);
    // with up to 160 proofs of a sample and the 1,000 more that a target of which nothing is recorded calls for, but
    // without the zeroes
    expect(report['sentBytes']).toBeLessThan((114 + 32) * KIBIBYTE);
    expect(report['blocks']).toBeGreaterThanOrEqual(3);
    expect(report['seconds']).toBeGreaterThan(0);
    await expectSameBytes(target, origin);
  });

  it('writes nothing but what changed', async () => {
    // as if somebody had written to the target: a full copy would mend it
    await writeRandom(target, 12 << 20, 4096, 'foreign');
    // one block in 4096: the sample meets it now and then
    await runLvmsync(snapshot, target, '--force=base');
    expect(await readDirectly(target, 12 << 20, 4096)).toBeBytes(seededBytes('foreign', 4096));
    const start = await readDirectly(target, 0, 12 << 20);
    expect(start).toBeBytes(await readDirectly(origin, 0, 12 << 20));
  });

  it('is written to an image file, and the rest of a longer file stays as it is', async () => {
    const file = '/run/target image.img';
    const rest = seededBytes('rest', 5000);
    await run(['dd', `if=${snapshot}`, `of=${file}`, 'bs=1M', 'status=none']);
    writeFileSync(file, rest, { flag: 'a' });
    await runLvmsync(`${GROUP}/snap--x.+`, file);
    expect(statSync(file).size).toBe(SIZE + rest.length);
    const written = readFileSync(file);
    expect(written.subarray(SIZE)).toBeBytes(rest);
    expect(written.subarray(0, SIZE)).toBeBytes(await readDirectly(origin, 0, SIZE));
    truncateSync(file, SIZE - 512);
    const cut = await digestOf(file);
    await expectFailure([`${GROUP}/snap--x.+`, file], 3, /target image\.img: too small/);
    expect(await digestOf(file)).toBe(cut);
    expect(statSync(file).size).toBe(SIZE - 512);
  });

  it('never creates a missing target', async () => {
    await expectFailure([snapshot, `/dev/${GROUP}/nowhere`], 8, /nowhere.*ENOENT/);
    await expectFailure([snapshot, '/run/nowhere.img'], 8, /nowhere\.img.*ENOENT/);
    expect([`/dev/${GROUP}/nowhere`, '/run/nowhere.img'].filter((path) => existsSync(path))).toEqual([]);
  });
});

describe('a snapshot in files', () => {
  it('takes an image of the base to the state of the origin', async () => {
    const origin = await createVolume(GROUP, 'dumped', '16M');
    await writeRandom(origin, 0, SIZE, 'base');
    const snapshot = await createSnapshot(GROUP, 'dumped', 'of-dumped', { size: '4M', chunkSize: '32k' });
    const [store, image, copy] = ['/run/dumped.cow', '/run/dumped.img', '/run/dumped copy.img'];
    await run(['dd', `if=${snapshot}`, `of=${copy}`, 'bs=1M', 'status=none']);
    await scatterWrites(origin, { unit: 512, stride: 3000, count: 10, seed: 'dumped' });
    writeFileSync(store, await readDirectly(`/dev/mapper/${mapperName(GROUP, 'of-dumped')}-cow`, 0, 4 << 20));
    writeFileSync(image, await readDirectly(origin, 0, SIZE));
    expect(await digestOf(copy)).not.toBe(await digestOf(image));
    const report = await reportOf('--cow', store, '--origin', image, copy);
    expect(report).toMatchObject({
      tableBytes: 10 * 32_768,
      // in each of these chunks one block of 4 KiB differs
      changedBytes: 10 * 4096,
      source: store,
      target: copy,
      consistent: true,
    });
    await expectSameBytes(copy, origin);
  });
});

describe('chunks of 512 KiB', () => {
  it('are sent as what changed in each', async () => {
    const origin = await createVolume(GROUP, 'coarse', '16M');
    await writeRandom(origin, 0, SIZE, 'base');
    const snapshot = await createSnapshot(GROUP, 'coarse', 'of-coarse', { size: '20M', chunkSize: '512k' });
    await resetTarget(snapshot);
    await scatterWrites(origin, { unit: 4096, stride: 1024, count: 4, seed: 'new' });
    const report = await reportOf(snapshot, target);
    expect(report).toMatchObject({ tableBytes: 4 * 512 * KIBIBYTE, changedBytes: 4 * 4096 });
    await expectSameBytes(target, origin);
  });
});

describe('origins that are more than one piece of disk', () => {
  it.each([
    ['striped', ['-i', '2', '-I', '64k', '-L', '16M', '-n', 'made-striped']],
    ['raid1', ['--type', 'raid1', '-m', '1', '-L', '16M', '-n', 'made-raid1', '--nosync']],
    ['thin', ['--type', 'thin', '-V', '16M', '--thinpool', 'pool', '-n', 'made-thin']],
  ])('%s', async (kind, words) => {
    if (kind === 'thin')
      await run(['lvcreate', '-qq', '-y', '--type', 'thin-pool', '-L', '24M', '-n', 'pool', GROUP]);
    await run(['lvcreate', '-qq', '-y', '-Wn', ...words, GROUP]);
    const origin = `/dev/${GROUP}/made-${kind}`;
    // all of it: what the legs of an unsynchronised mirror hold of earlier volumes is not the same
    await writeRandom(origin, 0, SIZE, 'base');
    const snapshot = await createSnapshot(GROUP, `made-${kind}`, `of-${kind}`, { size: '8M' });
    await resetTarget(snapshot);
    await scatterWrites(origin, { unit: 8192, stride: 97, count: 12, seed: kind });
    await runLvmsync(`${GROUP}/of-${kind}`, target);
    await expectSameBytes(target, origin);
  });
});

describe('a snapshot that LVM did not make, of a volume that is not a multiple of its chunks', () => {
  const SECTORS = 32768 + 7;

  it('is read to the end of its last, short chunk', async () => {
    const raw = await createVolume(GROUP, 'raw', '48M');
    const real = await mapDevice('plain-real', `0 ${SECTORS} linear ${raw} 0`);
    const cow = await mapDevice('plain-cow', `0 16384 linear ${raw} 40960`);
    const odd = await mapDevice('plain-target', `0 ${SECTORS} linear ${raw} 57344`);
    await writeRandom(real, 0, SECTORS * 512, 'base');
    await writeRandom(odd, 0, SECTORS * 512, 'base');
    await run(['dd', 'if=/dev/zero', `of=${cow}`, 'bs=64k', 'count=1', 'conv=fsync', 'status=none']);
    // the snapshot first: an origin splits writes by the chunks of the snapshots that it knows
    await mapDevice('plain-snap', `0 ${SECTORS} snapshot ${real} ${cow} P 128`);
    const origin = await mapDevice('plain', `0 ${SECTORS} snapshot-origin ${real}`);
    try {
      await writeRandom(origin, SECTORS * 512 - 512, 512, 'last sector');
      await writeRandom(origin, 3 << 20, 100_000, 'middle');
      const report = await reportOf('/dev/mapper/plain-snap', odd);
      // 100,000 bytes from a chunk's start on touch two chunks
      expect(report['tableBytes']).toBe(2 * 65_536 + 7 * 512);
      await expectSameBytes(odd, origin);
      // a name without a slash is looked up among device-mapper's too
      await reportOf('plain-snap', odd);
      await expectSameBytes(odd, origin);
    } finally {
      await unmapDevices('plain', 'plain-snap', 'plain-target', 'plain-cow', 'plain-real');
    }
  });
});
