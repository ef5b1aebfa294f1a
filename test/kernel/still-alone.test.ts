import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { UnsafeTargetError } from '../../src/errors.js';
import { openTarget, type OpenTarget } from '../../src/targets/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';
import { createSnapshot, createVolume, run, seededBytes } from './support/lab.js';
import { lv, ThinLab } from './support/thin-lab.js';
import { useVolumeGroup } from './support/volume-group.js';

/* What others do to a device while we write to it: the unit tests have what a file shows of it. */

const GROUP = 'vg-alone';
const MIB = 1024 * 1024;
const STATE = '/run/alone-state';
const env = quietSurroundings();

let volume = '';
let lab: ThinLab;
const sleepers: ChildProcess[] = [];
useVolumeGroup(GROUP);
beforeAll(async () => {
  volume = await createVolume(GROUP, 'plain', '16M');
  lab = await ThinLab.make(GROUP, '64k');
});
afterEach(async () => {
  for (const sleeper of sleepers.splice(0)) {
    sleeper.kill('SIGKILL');
    await once(sleeper, 'exit');
  }
});
afterAll(() => rm(STATE, { recursive: true, force: true }));

/** Nothing of what is done while the target is open for us to write is anybody else's. */
async function expectAlone(path: string, work: (target: OpenTarget) => Promise<unknown>): Promise<void> {
  await expect(whileOpen(path, work)).resolves.toBeUndefined();
}

async function expectMet(meeting: Promise<void>, message: RegExp): Promise<void> {
  await expect(meeting).rejects.toThrow(message);
  await expect(meeting).rejects.toThrow(UnsafeTargetError);
}

const dd = (to: string, flags: string) =>
  run(['dd', 'if=/dev/urandom', `of=${to}`, 'bs=4k', 'count=1', 'seek=9', `oflag=${flags}`, 'status=none']);

describe('what we write ourselves does not count as foreign', () => {
  it.each([
    ['a volume', () => volume],
    ['a thin volume', () => lab.volume],
    ['a disk', () => '/dev/ubdb'],
  ])('on %s', async (_what, path) => {
    await expectAlone(path(), writeEveryWay);
    // and once more, of what is mapped by now
    await expectAlone(path(), writeEveryWay);
  });

  it('on a volume that has snapshots, or gets one meanwhile', async () => {
    const origin = await createVolume(GROUP, 'origin', '16M');
    await createSnapshot(GROUP, 'origin', 'before', { size: '8M', chunkSize: '16k' });
    await expectAlone(origin, writeEveryWay);
    await expectAlone(origin, async (target) => {
      await writeEveryWay(target);
      await lv('lvcreate', '-s', '-n', 'meanwhile', '-L', '8M', `${GROUP}/origin`);
      await writeEveryWay(target);
    });
    await lv('lvremove', '-f', `${GROUP}/origin`);
  });
});

describe('what others do meanwhile', () => {
  it('to a volume is found by what the kernel counted, although they are gone', async () => {
    for (const path of [volume, lab.volume]) {
      const writing = whileOpen(path, async (target) => {
        await writeEveryWay(target);
        await dd(path, 'direct');
        await writeEveryWay(target);
      });
      await expectMet(
        writing,
        /not known: it is also written to by another program, which .* \(4096 bytes, by/,
      );
      await expectMet(
        whileOpen(path, () => dd(path, 'sync')),
        /written to by another program/,
      );
    }
    const discarding = whileOpen(lab.volume, () => run(['blkdiscard', '-f', '-l', '1M', lab.volume]));
    await expectMet(discarding, /\(1048576 bytes, by the kernel's count\)/);
  });

  it('is ignored if they only read', async () => {
    await expectAlone(volume, async (target) => {
      await writeEveryWay(target);
      await run(['dd', `if=${volume}`, 'of=/dev/null', 'bs=1M', 'status=none']);
      await run(['blkid', '-p', volume]).catch(() => undefined);
      const reader = spawn('sh', ['-c', 'exec 3<"$1"; echo open; exec sleep 60', 'sh', volume]);
      sleepers.push(reader);
      await once(reader.stdout, 'data');
    });
  });

  it('is named while they are there: an opener, a loop device', async () => {
    const opening = whileOpen(volume, async () => {
      const qemu = spawn('sh', ['-c', 'exec 3<>"$1"; echo open; exec sleep 60', 'sh', volume]);
      sleepers.push(qemu);
      await once(qemu.stdout, 'data');
    });
    await expectMet(
      opening,
      /plain: something else used it during the run, .*: it is open in process \d+ \(sleep\)/,
    );
    for (const sleeper of sleepers.splice(0)) {
      sleeper.kill('SIGKILL');
      await once(sleeper, 'exit');
    }
    const showing = whileOpen(volume, () => run(['losetup', '/dev/loop0', volume]));
    await expectMet(showing, /it is attached to the loop device \/dev\/loop0/);
    await run(['losetup', '-d', '/dev/loop0']);
  });

  it('is found by the count of openers if they have it open and are not visible', async () => {
    const mapping = `
      const koffi = require('koffi');
      const mmap = koffi.load(null).func('void *mmap(void *at, size_t length, int protection, int flags, int fd, int64_t offset)');
      const fd = require('fs').openSync(process.argv[1], 'r+');
      mmap(null, 4096, 3, 1, fd, 0);
      require('fs').closeSync(fd);
      console.log('mapped');
      setTimeout(() => 0, 60000);`;
    const opening = whileOpen(volume, async () => {
      const writer = spawn(process.execPath, ['-e', mapping, volume], { cwd: path.resolve('.') });
      sleepers.push(writer);
      await once(writer.stdout, 'data');
    });
    await expectMet(
      opening,
      /not known: it is open once by device-mapper's count, by something that is not visible here/,
    );
  });
});

/** Does something while a target is open for us to write, and looks again then. */
async function whileOpen(path: string, work: (target: OpenTarget) => Promise<unknown>): Promise<void> {
  const options = { stateDir: STATE, what: 'a test', sources: [], allowed: null };
  const target = await openTarget(path, options, env);
  try {
    await work(target);
    await target.checkStillAlone();
  } finally {
    await target.close();
  }
}

/** Each way in which an apply writes. */
async function writeEveryWay({ device }: OpenTarget): Promise<void> {
  const bytes = seededBytes('alone', 3 * MIB);
  await device.writeAt(bytes, MIB);
  await device.writeAt(bytes.subarray(0, 1000), 5 * MIB + 100);
  await device.writePiecesAt([bytes.subarray(0, 4096), bytes.subarray(0, 65_536)], 6 * MIB);
  await device.zero(7 * MIB, 300_000);
  await device.discard(8 * MIB, 2 * MIB);
  await device.discard(10 * MIB + 512, MIB + 1536);
  await device.discard(4 * MIB + 300, 1000);
  await device.flush();
}
