import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { copyDevice, waitForWrites, waitUntil, writeCounter } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsyncCommand,
  run,
  startSshd,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { expectFailure, reportOf, runLvmsync } from './support/outcomes.js';
import { start } from './support/random-moments.js';
import { expectSameBytes } from './support/same-bytes.js';
import { lv, NOTHING_LEFT, ThinLab } from './support/thin-lab.js';
import { useVolumeGroup } from './support/volume-group.js';
import { startWriter } from './support/writer.js';

const GROUP = 'vg-copy';
const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const STATE = '/run/copy-state';
const BASE = `${GROUP}/base`;
const CHUNK = 64 * 1024;

let sshd: Sshd;
let lab: ThinLab;
let origin = '';
let base = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  origin = await createVolume(GROUP, 'origin', '16M');
  await createSnapshot(GROUP, 'origin', 'older', { size: '32M', chunkSize: '64k', permission: 'r' });
  await writeRandom(origin, 0, SIZE, 'base');
  await run([
    'dd',
    'if=/dev/zero',
    `of=${origin}`,
    'bs=1M',
    'seek=4',
    'count=6',
    'oflag=direct',
    'status=none',
  ]);
  await createSnapshot(GROUP, 'origin', 'base', { size: '8M', chunkSize: '16k', permission: 'r' });
  base = await digestOf(origin);
  lab = await ThinLab.make(GROUP, '64k');
  await writeRandom(lab.volume, 0, 3 * MIB, 'thin');
  await writeRandom(lab.volume, 20 * MIB + 4096, 8192, 'thin');
  await run(['blkdiscard', '-o', String(MIB), '-l', String(MIB), lab.volume]);
});
afterAll(async () => {
  await sshd.stop();
  rmSync(STATE, { recursive: true, force: true });
});

/** The volumes of the group whose names begin so, with their tags. */
async function volumesLike(name: string): Promise<string> {
  const words = ['--noheadings', '-o', 'lv_name,lv_tags', '-S', `lv_name=~"^${name}"`, GROUP];
  return (await run(['lvs', ...words])).trim();
}

async function remove(name: string): Promise<void> {
  await lv('lvremove', '-f', `${GROUP}/${name}`);
}

/** How many bytes a thin volume maps. */
async function mappedBytes(name: string): Promise<number> {
  const status = (await run(['dmsetup', 'status', `vg--copy-${name}`])).split(' ');
  return Number(status[3]) * 512;
}

describe('a copy of a snapshot', () => {
  it('makes the volume on another host, which then accepts what changed since', async () => {
    const made = `/dev/${GROUP}/made`;
    const there = `root@127.0.0.1:${made}`;
    const report = await reportOf('copy', BASE, there, '--create');
    expect(report).toMatchObject({ tableBytes: SIZE, changedBytes: SIZE, consistent: true });
    expect(report['sentBytes']).toBeLessThan(10.2 * MIB);
    expect(await digestOf(made)).toBe(base);
    expect(await volumesLike('made')).toBe('made');
    await writeRandom(origin, 12 * MIB, 65_536, 'later');
    // It is known to be just this state: of another one it takes nothing.
    await expectFailure([`${GROUP}/older`, made], 7, /it holds exactly LVM-/);
    expect(await reportOf(BASE, there)).toMatchObject({ mismatches: 0, consistent: true });
    await expectSameBytes(made, origin);
    // Over what is there, however different: all of it again.
    await runLvmsync('copy', BASE, made);
    expect(await digestOf(made)).toBe(base);
    await remove('made');
  });
});

describe('a chunk without bytes of its own', () => {
  it('stays unmapped from thin to thin, and in a file; a thick volume gets zeroes', async () => {
    await lv('lvcreate', '-s', '-ky', '-K', '-ay', '-pr', '-n', 'frozen', `${GROUP}/vol`);
    const frozen = `/dev/${GROUP}/frozen`;
    const thin = `/dev/${GROUP}/thin`;
    const report = await reportOf('copy', frozen, thin, '--create-thin', 'pool');
    expect(report['sentBytes']).toBeLessThan(2.2 * MIB);
    await expectSameBytes(thin, frozen);
    expect(await mappedBytes('thin')).toBe(2 * MIB + CHUNK);
    const image = '/run/copied.img';
    await runLvmsync('copy', frozen, image, '--create');
    expect(statSync(image)).toMatchObject({ size: 32 * MIB, mode: 0o100600 });
    expect(statSync(image).blocks * 512).toBeLessThan(2.5 * MIB);
    await expectSameBytes(image, frozen);
    // A file with holes onto a thick volume that holds something else, and onto a thin one that maps it all.
    const thick = await createVolume(GROUP, 'thick', '32M');
    for (const target of [thick, thin]) {
      await writeRandom(target, 0, 32 * MIB, 'before');
      await runLvmsync('copy', image, target);
      await expectSameBytes(target, frozen);
    }
    expect(await mappedBytes('thin')).toBeLessThan(3 * MIB);
    rmSync(image);
    for (const name of ['thick', 'thin', 'frozen']) await remove(name);
    expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
  });

  it('of a thin volume that is being written is a point-in-time copy, by a snapshot for the run', async () => {
    const writer = await startWriter(lab.volume, 2 * MIB);
    try {
      expect(await reportOf('copy', lab.volume, '/run/live.img', '--create')).toMatchObject({
        consistent: true,
      });
    } finally {
      await writer.stop();
    }
    expect(readdirSync('/run').filter((name) => name.startsWith('live.img'))).toEqual(['live.img']);
    rmSync('/run/live.img');
    expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
  });
});

describe('a copy that is cut short', () => {
  const slowly = ['--bwlimit', '800K', '--codec', 'none', '--state-dir', STATE];

  it('leaves a volume that cannot be mistaken for a whole one, and continues when it is run again', async () => {
    const words = ['copy', BASE, `root@127.0.0.1:/dev/${GROUP}/cut`, '--create', '--state-dir', STATE];
    // Over ssh: the far side outlives its sender, and leaves things in order.
    const copying = start(lvmsyncCommand(...words, ...slowly));
    const noted = async () => {
      const key = await targetKeyOf(`/dev/${GROUP}/cut.partial`).catch(() => null);
      const path = join(STATE, 'targets', key?.key ?? '', 'state.json');
      return key !== null && existsSync(path) && readFileSync(path, 'utf8').includes('"copied"');
    };
    await waitUntil('a checkpoint is noted', noted);
    process.kill(copying.pid, 'SIGKILL');
    await copying.finished;
    expect(existsSync(`/dev/${GROUP}/cut`)).toBe(false);
    expect(await volumesLike('cut')).toMatch(/^cut.partial lvmsync.partial$/);
    const { resumedBytes } = await reportOf(...words);
    expect(resumedBytes).toBeGreaterThan(0);
    expect(await digestOf(`/dev/${GROUP}/cut`)).toBe(base);
    expect(await volumesLike('cut')).toBe('cut');
    await remove('cut');
  });

  it('records its target as half-copied until a copy or a scan has ended', async () => {
    const target = await createVolume(GROUP, 'half', '16M');
    await copyDevice(`/dev/${GROUP}/older`, target);
    const words = [target, '--state-dir', STATE];
    const writesBefore = writeCounter(target)();
    const copying = start(lvmsyncCommand('copy', BASE, ...words, ...slowly));
    await waitForWrites(target, writesBefore + 1);
    process.kill(copying.pid, 'SIGKILL');
    await copying.finished;
    await expectFailure([BASE, ...words], 7, /part of an interrupted copy: run "lvmsync copy" again/);
    await runLvmsync('--scan', BASE, ...words);
    expect(await digestOf(target)).toBe(base);
    expect(await reportOf(BASE, ...words)).toMatchObject({ mismatches: 0 });
    await remove('half');
  });
});

describe('a failure is one clear error, and leaves nothing', () => {
  it.each([
    [
      'there is no such group',
      `root@127.0.0.1:/dev/vg-none/new`,
      ['--create'],
      12,
      /lvcreate .*vg-none.*not found/,
    ],
    ['the group is full', `/dev/${GROUP}/new`, ['--create'], 12, /lvcreate .*insufficient free space/],
    ['there is no such pool', `/dev/${GROUP}/new`, ['--create-thin', 'none'], 12, /lvcreate .*none/],
    [
      'its name is no volume’s',
      `/dev/new`,
      ['--create'],
      2,
      /creates only logical volumes and files: write \/dev\/VG\/LV/,
    ],
    ['its folder is not there', `/run/none/new`, ['--create'], 8, /\/run\/none\/new.* ENOENT/],
  ])('where %s', async (_what, target, more, status, message) => {
    const large = '/run/large.img';
    writeFileSync(large, 'large');
    truncateSync(large, 64 * 1024 * MIB);
    const before = await volumesLike('');
    await expectFailure(['copy', large, target, ...more], status, message);
    expect(await volumesLike('')).toBe(before);
    rmSync(large);
  });
});
