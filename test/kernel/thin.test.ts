import { closeSync, existsSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { copyDevice, readDirectly, scatterWrites } from './support/devices.js';
import { createVolume, digestOf, lvmsync, run, seededBytes, writeRandom } from './support/lab.js';
import { expectFailure, reportOf, reportOfSuspect, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { lv, NOTHING_LEFT, ThinLab } from './support/thin-lab.js';
import { useVolumeGroup } from './support/volume-group.js';
import { startWriter } from './support/writer.js';

const GROUP = 'vg-thin';
/** No power of two, and the volume's size is no multiple of it. */
const CHUNK = 192 * 1024;
const MIB = 1024 * 1024;
const SIZE = 32 * MIB;
const volume = `/dev/${GROUP}/vol`;
/** Chunks that nothing else writes. */
const NEW = [130, 131, 132, 133];

let target = '';
let lab: ThinLab;
useVolumeGroup(GROUP);
beforeAll(async () => {
  lab = await ThinLab.make(GROUP, '192k');
  target = await createVolume(GROUP, 'target', '32M');
  await writeRandom(volume, 0, 20 * MIB, 'base');
  // behind a hole that is not mapped: the last chunk, a short one
  await writeRandom(volume, SIZE - 100 * 1024, 100 * 1024, 'base');
});
afterEach(async () => {
  expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
});

/** Makes a thin snapshot, which is inactive, and the target its copy. */
async function takeBase(name: string): Promise<void> {
  await lv('lvcreate', '-s', '-n', name, `${GROUP}/vol`);
  await lv('lvchange', '-ay', '-K', `${GROUP}/${name}`);
  await copyDevice(`/dev/${GROUP}/${name}`, target);
  await lv('lvchange', '-an', `${GROUP}/${name}`);
}

/** Overwrites, provisions, discards whole chunks and parts of one, and writes the last bytes. */
async function change(seed: string): Promise<void> {
  await scatterWrites(volume, { unit: 4096, stride: 321, count: 8, seed });
  await writeRandom(volume, 22 * MIB + 512, 200_000 - (200_000 % 512), seed);
  await writeRandom(volume, SIZE - 512, 512, seed);
  await run(['blkdiscard', '-o', String(6 * CHUNK), '-l', String(5 * CHUNK), volume]);
  await run(['blkdiscard', '-o', String(40 * CHUNK - 8192), '-l', String(CHUNK + 12_288), volume]);
  // within a chunk: nothing is unmapped, and what it holds stays
  await run(['blkdiscard', '-o', String(50 * CHUNK + 4096), '-l', '8192', volume]);
}

/** How many chunks a thin volume maps. */
async function mappedChunks(name: string): Promise<number> {
  const [, , , sectors] = (await run(['dmsetup', 'status', `vg--thin-${name}`])).split(' ');
  return (Number(sectors) * 512) / CHUNK;
}

/** Chunks in which two devices differ. */
async function differingChunks(a: string, b: string): Promise<number[]> {
  const [left, right] = [await readDirectly(a, 0, SIZE), await readDirectly(b, 0, SIZE)];
  const differs = (chunk: number) =>
    !left
      .subarray(chunk * CHUNK, (chunk + 1) * CHUNK)
      .equals(right.subarray(chunk * CHUNK, (chunk + 1) * CHUNK));
  return Array.from({ length: Math.ceil(SIZE / CHUNK) }, (_, chunk) => chunk).filter(differs);
}

describe('a thin snapshot', () => {
  beforeAll(async () => {
    await takeBase('first');
    await change('stopped');
  });

  it('is inspected while inactive: what changed is what differs, and nothing else', async () => {
    const report = JSON.parse(await runLvmsync('inspect', `${GROUP}/first`, '--json', '--extents')) as {
      extents: [number, number][];
    };
    const differing = await differingChunks(target, volume);
    expect(differing.length).toBeGreaterThan(12);
    const named = report.extents.flatMap(([offset, length]) =>
      Array.from({ length: Math.ceil(length / CHUNK) }, (_, i) => offset / CHUNK + i),
    );
    expect(named).toEqual(differing);
    const last = SIZE - Math.floor(SIZE / CHUNK) * CHUNK;
    expect(report).toMatchObject({
      type: 'dm-thin',
      valid: true,
      chunkSize: CHUNK,
      volumeSize: SIZE,
      changedBytes: (differing.length - 1) * CHUNK + last,
      // the aligned ones at least; of others the kernel decides which chunks it unmaps
      discardedBytes: expect.toSatisfy(
        (bytes: number) => bytes >= 5 * CHUNK && bytes % CHUNK === 0,
      ) as number,
      poolSize: 192 * MIB,
    });
    expect(await runLvmsync('inspect', `${GROUP}/first`)).toMatch(
      /first: thin snapshot\n {2}chunk size {2}192 KiB\n/,
    );
  });

  it('takes a copy of it to the state of its origin, which no one has open', async () => {
    const report = await reportOf(`${GROUP}/first`, target);
    expect(report).toMatchObject({ consistent: true, mismatches: 0 });
    await expectSameBytes(target, volume);
  });

  it('proves, while it is active, that the target held its state', async () => {
    await lv('lvchange', '-ay', '-K', `${GROUP}/first`);
    await copyDevice(`/dev/${GROUP}/first`, target);
    await writeRandom(target, 0, 4096, 'foreign');
    const report = await reportOfSuspect(`/dev/${GROUP}/first`, target);
    expect(report).toMatchObject({ mismatches: 1 });
    await expectSameBytes(target, volume);
    // it stays in doubt until all of it was compared
    await runLvmsync('--scan', volume, target);
  });

  it('takes a thin copy of it to the state of its origin, and frees there what was discarded', async () => {
    await lv('lvcreate', '--type', 'thin', '-V', '32M', '--thinpool', 'pool', '-n', 'copy', GROUP);
    const copy = `/dev/${GROUP}/copy`;
    await writeRandom(copy, 0, 22 * MIB, 'another volume');
    await lv('lvchange', '-an', `${GROUP}/first`);
    // inactive, it still tells another volume by what did not change
    await expectFailure([`${GROUP}/first`, copy], 7, /copy: .*; nothing was written/);
    await lv('lvchange', '-ay', '-K', `${GROUP}/first`);
    await copyDevice(`/dev/${GROUP}/first`, copy);
    await lv('lvchange', '-an', `${GROUP}/first`);
    const before = await mappedChunks('copy');
    await runLvmsync(`${GROUP}/first`, copy);
    await expectSameBytes(copy, volume);
    // how many of them depends on how the kernel cuts discards: chunks that are no power of two may stay
    expect(await mappedChunks('copy')).toBeLessThan(before);
    await lv('lvremove', '-f', `${GROUP}/copy`);
  });

  it('is compared with its target by verify', async () => {
    expect(
      JSON.parse(await runLvmsync('verify', volume, target, '--changed', `${GROUP}/first`, '--json')),
    ).toMatchObject({
      equal: true,
    });
  });

  it('names no state if the target may keep what was new once and is discarded by now', async () => {
    await takeBase('again');
    const [first = 0] = NEW;
    const length = NEW.length * CHUNK;
    await writeRandom(volume, first * CHUNK, length, 'new');
    await runLvmsync(`${GROUP}/again`, target);
    await expectSameBytes(target, volume);
    await run(['blkdiscard', '-o', String(first * CHUNK), '-l', String(length), volume]);
    await writeRandom(volume, 0, 4096, 'more');
    // the sample of what did not change may meet it
    const again = await lvmsync([`${GROUP}/again`, target, '--force', 'base']);
    expect(again).toMatchObject({
      status: 0,
      stderr: expect.stringMatching(
        /an earlier transfer brought other changes from this base: .*--scan/,
      ) as string,
    });
    // thin_delta has no word of it; the kernel decides which chunks it unmaps
    const kept = await differingChunks(target, volume);
    expect(kept.length).toBeGreaterThan(0);
    expect(NEW).toEqual(expect.arrayContaining(kept));
    await runLvmsync('--scan', volume, target);
    await expectSameBytes(target, volume);
  });
});

describe('a thin volume in use', () => {
  it('is sent as a later snapshot froze it, while it is written', async () => {
    await takeBase('second');
    const writer = await startWriter(volume, SIZE);
    try {
      await sleep(300);
      await lv('lvcreate', '-s', '-ky', '-K', '-ay', '-pr', '-n', 'third', `${GROUP}/vol`);
      await sleep(300);
      const report = await reportOf(`${GROUP}/second`, target, '--data-source', `${GROUP}/third`);
      expect(report).toMatchObject({ consistent: true });
      await expectSameBytes(target, `/dev/${GROUP}/third`);
      // the target's record says that it holds the third: nothing else may begin there
      await expectFailure([`${GROUP}/first`, target], 7, /target: it holds exactly LVM-/);

      const live = await reportOf(`${GROUP}/third`, target);
      expect(live).toMatchObject({ consistent: true });
      expect(live['changedBytes']).toBeGreaterThan(0);
    } finally {
      await writer.stop();
    }
    expect(await digestOf(target)).not.toBe(await digestOf(volume));
  });

  it('is read from a temporary snapshot, which is removed', async () => {
    await takeBase('fourth');
    await change('open');
    const holder = openSync(volume, 'r');
    try {
      const { status, stderr } = await lvmsync([`${GROUP}/fourth`, target, '-v']);
      expect({ status, stderr }).toEqual({
        status: 0,
        stderr: expect.stringMatching(
          /reading its bytes from vg-thin\/lvmsync-tmp-[0-9a-f]{8}, a temporary snapshot/,
        ) as string,
      });
    } finally {
      closeSync(holder);
    }
    await expectSameBytes(target, volume);
  });
});

describe('a snapback of a thin snapshot', () => {
  const file = '/run/thin.undo';

  it('of a volume in use is refused: the snapshot that is made for the run is not a state of a target', async () => {
    await lv('lvcreate', '-s', '-ky', '-K', '-ay', '-pr', '-n', 'frozen', `${GROUP}/vol`);
    await copyDevice(`/dev/${GROUP}/frozen`, target);
    const base = await digestOf(target);
    await change('snapback');
    const words = ['snapback', `${GROUP}/frozen`, '-o', file];
    const holder = openSync(volume, 'r');
    try {
      const advice =
        /nothing proves that vg-thin\/vol, which has the new bytes, does not change: use a later read-only/;
      await expectFailure(words, 4, advice);
      expect(existsSync(file)).toBe(false);
      expect(await reportOf(...words, '--force=writable')).toMatchObject({ base: null });
    } finally {
      closeSync(holder);
    }
    await copyDevice(volume, target);
    await runLvmsync('--apply', file, target);
    expect(await digestOf(target)).toBe(base);
    rmSync(file);
  });

  it('to a later one takes a target back', async () => {
    await lv('lvcreate', '-s', '-ky', '-K', '-ay', '-pr', '-n', 'later', `${GROUP}/vol`);
    await runLvmsync('snapback', `${GROUP}/frozen`, '-o', file, '-r', `${GROUP}/later`);
    await copyDevice(`/dev/${GROUP}/later`, target);
    await runLvmsync('--apply', file, target);
    await expectSameBytes(target, `/dev/${GROUP}/frozen`);
    rmSync(file);
  });
});

describe('a thin volume that grew', () => {
  it('needs a larger target, and is sent whole from its old end on', async () => {
    await takeBase('short');
    await lv('lvextend', '-L', '40M', `${GROUP}/vol`);
    await writeRandom(volume, 37 * MIB, 4096, 'grown');
    await expectFailure(
      [`${GROUP}/short`, target],
      3,
      /vol: 8388608 bytes larger than vg-thin\/short; .*the target must have 41943040 bytes[^]*too small/,
    );
    const file = '/run/thin target.img';
    await run(['dd', `if=${target}`, `of=${file}`, 'bs=1M', 'status=none']);
    writeFileSync(file, Buffer.alloc(9 * MIB, 'old'), { flag: 'a' });
    await runLvmsync(`${GROUP}/short`, file);
    truncateSync(file, 40 * MIB);
    await expectSameBytes(file, volume);
    rmSync(file);
  });
});

describe('a volume with an external origin', () => {
  it('shows the origin’s bytes again where a chunk was discarded', async () => {
    const template = await createVolume(GROUP, 'template', '8M');
    await writeRandom(template, 0, 8 * MIB, 'template');
    await lv('lvchange', '-an', `${GROUP}/template`);
    await lv('lvchange', '-pr', `${GROUP}/template`);
    await lv('lvcreate', '-s', '--thinpool', `${GROUP}/pool`, '-n', 'clone', `${GROUP}/template`);
    const clone = `/dev/${GROUP}/clone`;
    await writeRandom(clone, 0, 2 * MIB, 'clone');
    await lv('lvcreate', '-s', '-ky', '-K', '-ay', '-n', 'clone-base', `${GROUP}/clone`);
    const copy = await createVolume(GROUP, 'copy', '8M');
    await copyDevice(`/dev/${GROUP}/clone-base`, copy);
    await run(['blkdiscard', '-o', '0', '-l', String(3 * CHUNK), clone]);
    await runLvmsync(`${GROUP}/clone-base`, copy);
    await expectSameBytes(copy, clone);
    expect(await readDirectly(copy, 0, 4096)).toBeBytes(seededBytes('template', 4096));
  });
});
