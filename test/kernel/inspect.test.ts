import { writeFileSync } from 'node:fs';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readDirectly, scatterWrites } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  mapperName,
  run,
  seededBytes,
  statusOf,
  writeBytes,
  writeRandom,
} from './support/lab.js';
import { expectFailure, reportOf, runLvmsync } from './support/outcomes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-inspect';
const SIZE = 16 << 20;
const SNAPSHOT = `${GROUP}/snap`;
const CHUNK = 8192;

useVolumeGroup(GROUP);

describe('a snapshot', () => {
  const origin = `/dev/${GROUP}/origin`;
  const name = mapperName(GROUP, 'snap');
  const store = `/dev/mapper/${name}-cow`;
  const file = '/run/store.img';

  beforeAll(async () => {
    await createVolume(GROUP, 'origin', '16M');
    await createSnapshot(GROUP, 'origin', 'snap', { size: '8M', chunkSize: '8k' });
  });

  it('is empty at first', async () => {
    expect(await reportOf('inspect', SNAPSHOT, '--extents')).toEqual({
      type: 'dm-snapshot',
      valid: true,
      chunkSize: CHUNK,
      exceptions: 0,
      volumeSize: SIZE,
      changedBytes: 0,
      storeSize: 8 << 20,
      // the header and the first table
      storeUsed: 2 * CHUNK,
      extents: [],
    });
  });

  it('lists exactly the chunks that were written, in their order, as the kernel counts them', async () => {
    // out of order, within chunks, across them, twice, side by side, the first and the last
    const writes = [
      [900, 100],
      [SIZE - 512, 512],
      [100 * CHUNK + 100, 10],
      [50 * CHUNK - 1, 2],
      [101 * CHUNK, CHUNK],
      [102 * CHUNK, 3 * CHUNK],
      [900, 100],
    ] as const;
    for (const [offset, length] of writes) await writeRandom(origin, offset, length, offset);
    // to the snapshot itself: of that chunk, too, nobody knows any more what the base was
    await writeBytes(`/dev/${SNAPSHOT}`, 200 * CHUNK, seededBytes('into the snapshot', 512));

    const report = await reportOf('inspect', SNAPSHOT, '--extents');
    expect(report).toMatchObject({ exceptions: 10, changedBytes: 10 * CHUNK, volumeSize: SIZE });
    expect(report['extents']).toEqual([
      [0, CHUNK],
      [49 * CHUNK, 2 * CHUNK],
      [100 * CHUNK, 5 * CHUNK],
      [200 * CHUNK, CHUNK],
      [SIZE - CHUNK, CHUNK],
    ]);
    expect(await statusOf(name, CHUNK)).toMatchObject({ exceptions: 10 });
  });

  it('agrees with the kernel if its tables fill more than one area', async () => {
    // 512 entries to an area of 8 KiB
    await scatterWrites(origin, { unit: CHUNK, stride: 3, count: 600, seed: 'many' });
    const { exceptions, words } = await statusOf(name, CHUNK);
    const report = await reportOf('inspect', SNAPSHOT);
    expect(exceptions).toBeGreaterThan(512);
    expect(report['exceptions']).toBe(exceptions);
    // "allocated/total metadata", in sectors
    const [allocated, total] = words.split(/[/ ]/).map((sectors) => Number(sectors) * 512);
    expect(report).toMatchObject({ storeUsed: allocated, storeSize: total });
  });

  it('is left as it was, and so is its origin', async () => {
    const before = [await digestOf(store), await digestOf(origin)];
    await runLvmsync('inspect', SNAPSHOT);
    expect([await digestOf(store), await digestOf(origin)]).toEqual(before);
  });

  describe('a snapshot in files', () => {
    beforeEach(async () => {
      writeFileSync(file, await readDirectly(store, 0, 8 << 20));
    });

    it('says the same', async () => {
      const expected = await reportOf('inspect', SNAPSHOT, '--extents');
      const image = '/run/origin.img';
      await run(['truncate', '-s', String(SIZE), image]);
      expect(await reportOf('inspect', '--cow', file, '--origin', image, '--extents')).toEqual(expected);
      // the store alone knows no volume's size
      const alone = { ...expected, volumeSize: null };
      expect(await reportOf('inspect', '--cow', file, '--extents')).toEqual(alone);
      expect(await reportOf('inspect', file, '--extents')).toEqual(alone);
    });

    it('is invalid if the file is truncated', async () => {
      await run(['truncate', '-s', String(CHUNK * 514), file]);
      const { status, stdout } = await lvmsync(['inspect', file, '--json']);
      expect(status).toBe(4);
      expect(JSON.parse(stdout)).toEqual({
        type: 'dm-snapshot',
        valid: false,
        reason: expect.stringMatching(/cut short/) as string,
      });
    });
  });

  it('is described in a few lines, with a map on a terminal', async () => {
    const told = await runLvmsync('inspect', SNAPSHOT);
    expect(told).toMatch(/vg-inspect\/snap: valid exception store\n/);
    expect(told).toMatch(/chunk size {2}8 KiB\n/);
    expect(told).not.toMatch(/[░▒▓█]/);
    const quoted = lvmsyncCommand('inspect', SNAPSHOT).map((word) => `'${word}'`);
    const onTerminal = await run(['script', '-qec', quoted.join(' '), '/dev/null']);
    expect(onTerminal.split('\n').filter((line) => /[░▒▓█]/.test(line)).length).toBeGreaterThan(0);
  });
});

describe('a snapshot whose store filled up', () => {
  it('is invalid, says why, and never shows an incomplete list', async () => {
    const origin = await createVolume(GROUP, 'full', '8M');
    await createSnapshot(GROUP, 'full', 'overfull', { size: '1M', chunkSize: '64k' });
    await scatterWrites(origin, { unit: 65_536, stride: 2, count: 20, seed: 'fill' });
    const { status, stdout } = await lvmsync(['inspect', `${GROUP}/overfull`, '--json', '--extents']);
    expect(status).toBe(4);
    expect(JSON.parse(stdout)).toEqual({
      type: 'dm-snapshot',
      valid: false,
      reason: expect.stringMatching(
        /vg-inspect\/overfull: the snapshot is invalid: its store filled up/,
      ) as string,
    });

    // the same from the header alone
    const store = await readDirectly(`/dev/mapper/${mapperName(GROUP, 'overfull')}-cow`, 0, 1 << 20);
    writeFileSync('/run/overfull.img', store);
    const fromFile = await lvmsync(['inspect', '--cow', '/run/overfull.img', '--json']);
    expect(fromFile.status).toBe(4);
    expect(JSON.parse(fromFile.stdout)).toMatchObject({ valid: false });
    await expectFailure(['--cow', '/run/overfull.img', '--origin', origin, origin], 4, /invalid/);
  });
});

describe('a stream in a file', () => {
  it('is shown with its header and counts, and whether it is whole', async () => {
    const { stdoutBytes } = await lvmsync([SNAPSHOT, '--stdout', '--whole-chunks']);
    writeFileSync('/run/stream', stdoutBytes);
    const { changedBytes } = await reportOf('inspect', SNAPSHOT);
    const whole = await reportOf('inspect', '/run/stream');
    expect(whole).toMatchObject({ type: 'stream', valid: true, whole: true, protocol: 4 });
    expect(whole).toMatchObject({ header: { kind: 'changes', volumeSize: SIZE, blockSize: CHUNK } });
    expect(Number(whole['dataBytes']) + Number(whole['zeroBytes'])).toBe(changedBytes);

    writeFileSync('/run/stream', stdoutBytes.subarray(0, -1));
    const cut = await lvmsync(['inspect', '/run/stream', '--json']);
    expect(cut.status).toBe(5);
    expect(JSON.parse(cut.stdout)).toMatchObject({ valid: false, whole: false });
    writeFileSync('/run/other', 'neither nor');
    await expectFailure(
      ['inspect', '/run/other'],
      2,
      /\/run\/other: neither an lvmsync stream nor an exception store/,
    );
  });
});
