import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CommandError, UnsafeTargetError } from '../../src/errors.js';
import { ProcessSpawner, type Spawner } from '../../src/host/spawner.js';
import { guardRoom } from '../../src/targets/room.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { guardTarget, stackOf } from '../../src/usage/guard.js';
import { mapDevice } from './support/devices.js';
import { createSnapshot, createVolume, mapperName, run } from './support/lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-guard';
const MEBIBYTE = 1024 * 1024;
const spawner = new ProcessSpawner(process.env);

let target = '';
const sleepers: ChildProcess[] = [];
let undo: (readonly [string, ...string[]])[] = [];
useVolumeGroup(GROUP);
beforeAll(async () => {
  target = await createVolume(GROUP, 'target', '16M');
  await mkdir('/run/guard', { recursive: true });
});
afterEach(async () => {
  for (const sleeper of sleepers.splice(0)) {
    sleeper.kill('SIGKILL');
    if (sleeper.exitCode === null && sleeper.signalCode === null) await once(sleeper, 'exit');
  }
  for (const argv of undo.splice(0).reverse()) await run(argv);
});
afterAll(() => rm('/run/guard', { recursive: true }));

/** Runs a command now, and another when the test is over. */
async function runAndUndo(
  argv: readonly [string, ...string[]],
  later: readonly [string, ...string[]],
): Promise<string> {
  const output = await run(argv);
  undo.push(later);
  return output.trim();
}

/** Runs a script of bash's that says something when it is ready, and ends with the test. */
async function startSleeper(script: string, ...words: readonly string[]): Promise<number> {
  const child = spawn('bash', ['-c', script, 'sleeper', ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  sleepers.push(child);
  await once(child.stdout, 'data');
  return child.pid ?? 0;
}

async function expectRefused(path: string, message: RegExp, sourcePaths?: readonly string[]): Promise<void> {
  const sources = sourcePaths === undefined ? [] : [{ name: 'vg/snap', ...(await stackOf(sourcePaths)) }];
  const guarding = guardTarget(path, { spawner, sources });
  await expect(guarding).rejects.toThrow(message);
  await expect(guarding).rejects.toThrow(UnsafeTargetError);
}

async function expectAllowed(path: string, sourcePaths: readonly string[] = []): Promise<void> {
  await guardTarget(path, { spawner, sources: [{ name: 'vg/snap', ...(await stackOf(sourcePaths)) }] });
}

it('lets a good target pass, quickly', async () => {
  const started = performance.now();
  await expectAllowed(target, ['/dev/ubdb']);
  const guarded = performance.now();
  const { number } = await targetKeyOf(target);
  const expected = { bytes: MEBIBYTE, blockSize: 4096, volumeSize: 16 * MEBIBYTE };
  await guardRoom({ path: target, number }, expected, { spawner, notice: () => undefined });
  const [guard, room] = [guarded - started, performance.now() - guarded].map(Math.round);
  console.log(`a good target passes the guard in ${guard ?? 0} ms, the look for room in ${room ?? 0} ms`);
  expect(performance.now() - started).toBeLessThan(20_000);
});

it('keys a volume by its UUID, a disk by the kernel’s name', async () => {
  const uuid = (
    await run(['dmsetup', 'info', '-c', '--noheadings', '-o', 'uuid', mapperName(GROUP, 'target')])
  ).trim();
  expect(uuid).toMatch(/^LVM-\w{64}$/);
  expect(await targetKeyOf(target)).toMatchObject({
    key: uuid,
    number: expect.stringMatching(/^\d+:\d+$/) as string,
  });
  expect(await targetKeyOf(`/dev/mapper/${mapperName(GROUP, 'target')}`)).toMatchObject({ key: uuid });
  expect(await targetKeyOf('/dev/ubdb')).toMatchObject({ key: 'ubdb', realPath: '/dev/ubdb' });
  const odd = await mapDevice('odd@name', '0 8 zero');
  undo.push(['dmsetup', 'remove', 'odd@name']);
  expect((await targetKeyOf(odd)).key).toMatch(/^odd_name-[0-9a-f]{8}$/);
});

describe('a target in use is refused', () => {
  it('mounted, by whatever name and in whatever mount namespace', async () => {
    await run(['mkfs.ext4', '-q', '-F', target]);
    await mkdir('/run/guard/a b', { recursive: true });
    const umount = ['umount', '/run/guard/a b'] as const;
    await runAndUndo(['mount', `/dev/mapper/${mapperName(GROUP, 'target')}`, '/run/guard/a b'], umount);
    await expectRefused(target, /target: it is mounted on \/run\/guard\/a b: unmount it first/);
    await run(umount);
    undo = [];

    const pid = await startSleeper(
      'exec unshare -m --propagation private bash -c \'mount "$1" "$2" && echo on; exec sleep 60\' x "$@"',
      target,
      '/run/guard/a b',
    );
    await expectRefused(
      target,
      new RegExp(`mounted on /run/guard/a b in the mount namespace of process ${pid}`),
    );
  });

  it('mounted by a file system that has a number of its own, as btrfs has', async () => {
    // tmpfs shows whatever it is told as its source, as btrfs shows its device: with a number that begins with 0.
    await mkdir('/run/guard/pool', { recursive: true });
    await runAndUndo(['mount', '-t', 'tmpfs', target, '/run/guard/pool'], ['umount', '/run/guard/pool']);
    await expectRefused(target, /target: it is mounted on \/run\/guard\/pool: unmount it first/);
  });

  it('mounted out of sight', async () => {
    await run(['mkfs.ext4', '-q', '-F', target]);
    await mkdir('/run/guard/lazy', { recursive: true });
    await run(['mount', target, '/run/guard/lazy']);
    await startSleeper('cd /run/guard/lazy; echo in; exec sleep 60');
    await run(['umount', '-l', '/run/guard/lazy']);
    await expectRefused(
      target,
      /target: it is open once by device-mapper's count, by something that is not visible here/,
    );
  });

  it('as swap, on a device or in a file', async () => {
    await run(['mkswap', target]);
    await runAndUndo(['swapon', target], ['swapoff', target]);
    await expectRefused(target, /target: it is in use as swap: run "swapoff \/dev\/.*" first/);

    await run(['mkfs.ext4', '-q', '-F', '/dev/ubdb']);
    await runAndUndo(['mount', '/dev/ubdb', '/run/guard'], ['umount', '/run/guard']);
    const file = '/run/guard/swap file';
    await writeFile(file, Buffer.alloc(4 * MEBIBYTE));
    await run(['mkswap', file]);
    await runAndUndo(['swapon', file], ['swapoff', file]);
    await expectRefused(file, /swap file: it is in use as swap: run "swapoff \/run\/guard\/swap file" first/);
  });

  it('by a loop device, or as an image that is mounted', async () => {
    await runAndUndo(['losetup', '/dev/loop0', target], ['losetup', '-d', '/dev/loop0']);
    await expectRefused(target, /it is attached to the loop device \/dev\/loop0: detach it first/);

    const image = '/run/guard/image';
    await writeFile(image, '');
    await truncate(image, 8 * MEBIBYTE);
    await expectAllowed(image);
    await run(['mkfs.ext4', '-q', '-F', image]);
    await mkdir('/run/guard/loop', { recursive: true });
    await runAndUndo(['mount', '-o', 'loop', image, '/run/guard/loop'], ['umount', '/run/guard/loop']);
    await expectRefused(image, /image: it is attached to the loop device \/dev\/loop\d+/);
    await link(image, '/run/guard/other name');
    await rm(image);
    await expectRefused('/run/guard/other name', /it is attached to the loop device \/dev\/loop\d+/);
    // another file by the name that the loop device remembers
    await writeFile(image, '');
    await expectAllowed(image);
  });

  it('by a loop device whose image another process writes to', async () => {
    const image = '/run/guard/disk';
    await writeFile(image, '');
    await truncate(image, 8 * MEBIBYTE);
    await runAndUndo(['losetup', '/dev/loop0', image], ['losetup', '-d', '/dev/loop0']);
    await expectAllowed('/dev/loop0');
    const pid = await startSleeper('exec 3<>"$1"; echo open; exec sleep 60', image);
    await expectRefused('/dev/loop0', new RegExp(`an image file underneath it is open in process ${pid}`));
  });

  it('by a plain open, as QEMU has it, or one for reading only', async () => {
    const writer = await startSleeper('exec 3<>"$1"; echo open; exec sleep 60', target);
    await expectRefused(target, new RegExp(`it is open in process ${writer} \\(sleep\\): stop that first`));
    const reader = await startSleeper('exec 3<"$1"; echo open; exec sleep 60', target);
    await expectRefused(target, new RegExp(`open in processes ${writer} \\(sleep\\), ${reader} \\(sleep\\)`));
  });

  it('but not by a process that only holds its name', async () => {
    const holdName =
      'require("fs").openSync(process.argv[1], 0o10000000); console.log("held"); setTimeout(() => 0, 60000)';
    await startSleeper('exec "$1" -e "$2" "$3"', process.execPath, holdName, target);
    await expectAllowed(target);
  });

  it('but not because a program or a permission is missing', async () => {
    const refusing: Spawner = {
      run: (argv) => Promise.reject(new CommandError(argv, 'is not installed')),
      start: (argv) => spawner.start(argv),
    };
    const env = { spawner: refusing, sources: [] };
    await expect(guardTarget(target, env)).resolves.toBeUndefined();
    await writeFile('/run/guard/shown', Buffer.alloc(MEBIBYTE));
    await runAndUndo(['losetup', '/dev/loop0', '/run/guard/shown'], ['losetup', '-d', '/dev/loop0']);
    await writeFile('/run/guard/beside', Buffer.alloc(MEBIBYTE));
    await expect(guardTarget('/run/guard/beside', env)).resolves.toBeUndefined();
  });

  it('by a device on top', async () => {
    await mapDevice('upper', `0 8 linear ${target} 0`);
    undo.push(['dmsetup', 'remove', 'upper']);
    await expectRefused(target, /it is part of \/dev\/mapper\/upper: use that as the target instead/);
  });

  it('by a RAID, also when that is not mounted', async () => {
    await run(['modprobe', '-a', 'md-mod', 'raid1']);
    await writeFile('/sys/module/md_mod/parameters/new_array', 'md_guard');
    const set = (name: string, value: string) => writeFile(`/sys/block/md_guard/md/${name}`, value);
    await set('metadata_version', 'none');
    await set('level', 'raid1');
    await set('raid_disks', '1');
    await set('new_dev', (await targetKeyOf(target)).number ?? '');
    await expectRefused(target, /it is part of \/dev\/md_guard: use that as the target instead/);
    await set('array_state', 'clear');
    await expectAllowed(target);
  });

  it('by a partition of it, or by the disk that it is a partition of', async () => {
    undo.push(['dd', 'if=/dev/zero', 'of=/dev/ubdb', 'bs=512', 'count=1', 'conv=notrunc', 'status=none']);
    await run(['dd', 'of=/dev/ubdb', 'conv=notrunc', 'status=none'], { input: twoPartitions(2048, 16384) });
    await runAndUndo(['partx', '--add', '/dev/ubdb'], ['partx', '--delete', '/dev/ubdb']);
    await expectAllowed('/dev/ubdb');
    await mapDevice('upper', '0 8 linear /dev/ubdb2 0');
    undo.push(['dmsetup', 'remove', 'upper']);
    await expectRefused('/dev/ubdb', /its partition ubdb2 is part of \/dev\/mapper\/upper/);
    await expectAllowed('/dev/ubdb1');
    await run(['dmsetup', 'remove', 'upper']);
    undo = undo.filter((words) => !words.includes('upper'));
    await mapDevice('whole', '0 8 linear /dev/ubdb 0');
    await expectRefused('/dev/ubdb1', /its disk ubdb is part of \/dev\/mapper\/whole/);
    await run(['dmsetup', 'remove', 'whole']);
    await startSleeper('exec 3<"$1"; echo open; exec sleep 60', '/dev/ubdb1');
    await expectRefused('/dev/ubdb', /its partition ubdb1 is open in process \d+ \(sleep\)/);
    await startSleeper('exec 3<>"$1"; echo open; exec sleep 60', '/dev/ubdb');
    await expectRefused('/dev/ubdb1', /its disk ubdb is open in process \d+ \((sleep|bash)\)/);
  });
});

describe('a target of the source’s own stack is refused', () => {
  let origin = '';
  let snap = '';
  let paths: string[] = [];
  beforeAll(async () => {
    origin = await createVolume(GROUP, 'origin', '16M');
    snap = await createSnapshot(GROUP, 'origin', 'snap', { size: '8M' });
    paths = [origin, `/dev/mapper/${mapperName(GROUP, 'snap')}-cow`];
  });

  it('the origin, the snapshot, its store, and what is below them', async () => {
    await expectRefused(
      origin,
      /origin: it is a device or file that the source vg\/snap is read from/,
      paths,
    );
    await expectRefused(
      snap,
      /snap: it is on top of a device or file that the source vg\/snap is read from/,
      paths,
    );
    await expectRefused(
      paths[1] ?? '',
      /it is a device or file that the source vg\/snap is read from/,
      paths,
    );
    await expectRefused(`/dev/mapper/${mapperName(GROUP, 'origin')}-real`, /underneath the source/, paths);
    await expectRefused('/dev/ubda', /\/dev\/ubda: it is underneath the source vg\/snap/, paths);
  });

  it('a file on the origin’s own file system, a loop device over a source file; but no neighbour', async () => {
    await run(['mkfs.ext4', '-q', '-F', origin]);
    await mkdir('/run/guard/origin', { recursive: true });
    await runAndUndo(['mount', origin, '/run/guard/origin'], ['umount', '/run/guard/origin']);
    await writeFile('/run/guard/origin/image', 'image');
    await expectRefused(
      '/run/guard/origin/image',
      /on top of a device or file that the source vg\/snap is read from/,
      paths,
    );

    await writeFile('/run/guard/store', Buffer.alloc(MEBIBYTE));
    await runAndUndo(['losetup', '/dev/loop0', '/run/guard/store'], ['losetup', '-d', '/dev/loop0']);
    await expectRefused('/dev/loop0', /on top of a device or file that the source/, ['/run/guard/store']);
    await expectRefused('/run/guard/store', /underneath the source/, ['/dev/loop0']);
    await expectAllowed(target, paths);
    await expectAllowed(target, ['/run/guard/store']);
  });
});

/** A partition table of the old kind (MBR) with two partitions, one behind the other. Sectors of 512 bytes. */
function twoPartitions(start: number, length: number): Buffer {
  const sector = Buffer.alloc(512);
  for (const [index, begin] of [start, start + length].entries()) {
    const entry = 446 + index * 16;
    sector.writeUInt8(0x83, entry + 4);
    sector.writeUInt32LE(begin, entry + 8);
    sector.writeUInt32LE(length, entry + 12);
  }
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}
