import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Extent } from '../../src/bytes/extent.js';
import { copyDevice, readDirectly } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  run,
  startSshd,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { expectFailure, reportOf, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { lv, NOTHING_LEFT, ThinLab } from './support/thin-lab.js';
import { useVolumeGroup } from './support/volume-group.js';
import { startWriter } from './support/writer.js';

const GROUP = 'vg-scan';
const MIB = 1024 * 1024;
const SIZE = 16 * MIB;

let sshd: Sshd;
let origin = '';
let target = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  origin = await createVolume(GROUP, 'origin', '16M');
  target = await createVolume(GROUP, 'target', '20M');
  await writeRandom(origin, 0, SIZE, 'base');
  await createSnapshot(GROUP, 'origin', 'frozen', { size: '8M', chunkSize: '16k', permission: 'r' });
});
afterAll(() => sshd.stop());

/** What the first bytes of the larger target are. */
async function targetStart(): Promise<string> {
  const start = await createVolume(GROUP, 'start', '16M');
  await copyStart(start);
  return await digestOf(start).finally(() => run(['lvremove', '-qq', '-f', `${GROUP}/start`]));
}

async function copyStart(to: string): Promise<void> {
  await run([
    'dd',
    `if=${target}`,
    `of=${to}`,
    'bs=1M',
    'count=16',
    'conv=fsync',
    'iflag=direct',
    'status=none',
  ]);
}

describe.each([
  ['within one host', () => target],
  ['over ssh', () => `root@127.0.0.1:${target}`],
])('--scan, %s', (_how, word) => {
  beforeEach(async () => {
    await writeRandom(target, 0, 20 * MIB, 'tail');
    await copyDevice(`/dev/${GROUP}/frozen`, target);
    await writeRandom(target, 9 * 4096 + 512, 512, 'lost');
    await writeRandom(target, SIZE - 512, 512, 'lost');
    await writeRandom(target, 5 * MIB, 300_000 - (300_000 % 512), 'lost');
  });

  it('makes a target equal to a snapshot, whose changes it then accepts', async () => {
    expect(await reportOf('--scan', `${GROUP}/frozen`, word())).toMatchObject({
      ...{ tableBytes: (2 + 74) * 4096, changedBytes: (2 + 74) * 4096, consistent: true, mismatches: 0 },
    });
    expect(await targetStart()).toBe(await digestOf(`/dev/${GROUP}/frozen`));
    expect(await reportOf('--scan', `${GROUP}/frozen`, word())).toMatchObject({ changedBytes: 0 });
    await writeRandom(origin, 7 * MIB, 4096, _how);
    expect(await reportOf(`${GROUP}/frozen`, word())).toMatchObject({ mismatches: 0, consistent: true });
    expect(await targetStart()).toBe(await digestOf(origin));
  });
});

describe('what --scan reads', () => {
  it('of a mounted volume: the blocks that it reads, and not a point-in-time copy', async () => {
    const mounted = await createVolume(GROUP, 'mounted', '16M');
    await run(['mkfs.ext4', '-q', '-F', mounted]);
    mkdirSync('/run/scanned', { recursive: true });
    await run(['mount', mounted, '/run/scanned']);
    try {
      const { status, stderr } = await lvmsync(['--scan', mounted, target]);
      expect([status, stderr]).toEqual([
        0,
        expect.stringMatching(/mounted: in use: .*\n.*warning: .*mounted: it was in use/s),
      ]);
      expect(await reportOf('--scan', mounted, target)).toMatchObject({ consistent: false });
      await expectFailure(
        ['--scan', `${GROUP}/frozen`, mounted],
        3,
        /mounted on \/run\/scanned: unmount it first/,
      );
    } finally {
      await run(['umount', '/run/scanned']);
      await run(['lvremove', '-qq', '-f', `${GROUP}/mounted`]);
    }
  });

  it('of a thin volume that is being written: a point-in-time copy, by a snapshot for the run', async () => {
    const lab = await ThinLab.make(GROUP, '64k');
    await writeRandom(lab.volume, 0, 4 * MIB, 'thin');
    const big = await createVolume(GROUP, 'big', '32M');
    const writer = await startWriter(lab.volume, 4 * MIB);
    try {
      expect(await reportOf('--scan', lab.volume, big)).toMatchObject({ consistent: true });
    } finally {
      await writer.stop();
    }
    expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
    await runLvmsync('--scan', lab.volume, big);
    await expectSameBytes(big, lab.volume);
    await lv('lvremove', '-f', `${GROUP}/big`, `${GROUP}/pool`);
  });

  it('of a snapshot that filled up: nothing; the way out that its error names works', async () => {
    await createSnapshot(GROUP, 'origin', 'tiny', { size: '1M' });
    await writeRandom(origin, 0, 4 * MIB, 'overflow');
    await expectFailure([`${GROUP}/tiny`, target], 4, /tiny: the snapshot is invalid: .*"lvmsync --scan"/);
    await expectFailure(['--scan', `${GROUP}/tiny`, target], 4, /tiny: the snapshot is invalid/);
    await runLvmsync('--scan', origin, target);
    expect(await targetStart()).toBe(await digestOf(origin));
    await run(['lvremove', '-qq', '-f', `${GROUP}/tiny`]);
  });

  it('of a partition: another partition of the same disk gets it, and nothing beside that changes', async () => {
    const image = '/run/partitioned.img';
    writePartitionTable(
      image,
      32 * MIB,
      [1, 2].map((number) => ({ offset: number * 8 * MIB, length: 6 * MIB })),
    );
    const disk = (await run(['losetup', '--find', '--show', '--partscan', image])).trim();
    try {
      const [from, to] = [`${disk}p1`, `${disk}p2`];
      await writeRandom(from, 0, 6 * MIB, 'first');
      await copyDevice(from, to);
      await writeRandom(from, 3 * MIB, 8192, 'changed');
      expect(await reportOf('--scan', from, to)).toMatchObject({ changedBytes: 8192, consistent: true });
      await expectSameBytes(to, from);
      expect(await reportOf('--scan', from, to)).toMatchObject({ changedBytes: 0 });
      const outside = await readDirectly(disk, 8 * MIB + 6 * MIB, 2 * MIB);
      expect(outside).toBeBytes(Buffer.alloc(outside.length));
    } finally {
      await run(['losetup', '--detach', disk]);
      rmSync(image);
    }
  });
});

/** An image file of zeroes with a DOS partition table. Bytes, in whole sectors. */
function writePartitionTable(image: string, size: number, partitions: readonly Extent[]): void {
  const boot = Buffer.alloc(512);
  for (const [index, { offset, length }] of partitions.entries()) {
    const entry = 446 + index * 16;
    // type 0x83, then first sector and their number: cylinders, heads and the like are long ignored
    boot.writeUInt8(0x83, entry + 4);
    boot.writeUInt32LE(offset / 512, entry + 8);
    boot.writeUInt32LE(length / 512, entry + 12);
  }
  boot.writeUInt16BE(0x55aa, 510);
  writeFileSync(image, boot);
  truncateSync(image, size);
}
