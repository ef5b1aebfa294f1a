import { mkdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { mapDevice } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  digestOf,
  mapperName,
  removeVolumeGroup,
  run,
  startSshd,
  statusOf,
  writeBytes,
  writeRandom,
} from './support/lab.js';
import { expectSameBytes } from './support/same-bytes.js';
import { removeWithUsers, useVolumeGroup } from './support/volume-group.js';

const CHUNK = 4096;
const MIB = 1024 * 1024;
const GROUP = 'my-lab';
const IN_USE = 'my-busy-lab';

describe('the lab', () => {
  useVolumeGroup(GROUP);

  it('has a kernel that keeps what a snapshot froze', async () => {
    const origin = await createVolume(GROUP, 'origin', '16M');
    await writeRandom(origin, 0, 1024 * 1024, 'before');
    const before = await digestOf(origin);
    const snapshot = await createSnapshot(GROUP, 'origin', 'frozen', { size: '8M' });
    const name = mapperName(GROUP, 'frozen');
    expect(await statusOf(name, CHUNK)).toMatchObject({ exceptions: 0 });

    await writeRandom(origin, 10 * CHUNK, 3 * CHUNK, 'after');

    expect(await statusOf(name, CHUNK)).toMatchObject({ exceptions: 3 });
    expect(await digestOf(snapshot)).toBe(before);
    expect(await digestOf(origin)).not.toBe(before);
  });

  it('says where two devices differ first', async () => {
    const [one, other] = [await createVolume(GROUP, 'one', '4M'), await createVolume(GROUP, 'other', '4M')];
    for (const each of [one, other]) await writeRandom(each, 0, 4 * MIB, 'the same');
    await expectSameBytes(one, other);
    await writeBytes(other, 3 * MIB + 5000, Buffer.from('else'));
    await expect(expectSameBytes(one, other)).rejects.toThrow(
      /from byte 3145728 on: the bytes differ first at offset 5000 .*\n.* \| 65 6c 73 65 /,
    );
    const longer = await createVolume(GROUP, 'longer', '5M');
    await writeRandom(longer, 0, 4 * MIB, 'the same');
    await expect(expectSameBytes(one, longer)).rejects.toThrow(/longer ends where .*one does/);
    await expect(expectSameBytes(longer, one)).rejects.toThrow(
      /from byte 4194304 on: the bytes differ first/,
    );
  });

  it('has an ssh server on which lvmsync and LVM are found', async () => {
    const sshd = await startSshd();
    try {
      const answer = await run([
        'ssh',
        '-oBatchMode=yes',
        '127.0.0.1',
        `command -v lvmsync; vgs --noheadings -o name ${GROUP}`,
      ]);
      expect(answer.trim().split(/\s+/)).toEqual(['/run/bin/lvmsync', GROUP]);
    } finally {
      await sshd.stop();
    }
  });
});

it('a volume group that is in use is removed with what uses it, and cannot be removed alone', async () => {
  await createVolumeGroup(IN_USE);
  const mounted = await createVolume(IN_USE, 'mounted', '4M');
  const below = await createVolume(IN_USE, 'below', '4M');
  await run(['mkfs.ext4', '-q', mounted]);
  mkdirSync('/run/busy-lab', { recursive: true });
  await run(['mount', mounted, '/run/busy-lab']);
  await mapDevice('on-top', `0 8 linear ${below} 0`);
  await expect(removeVolumeGroup(IN_USE)).rejects.toThrow(/in use/);
  await removeWithUsers(IN_USE);
  expect(await run(['vgs', '--noheadings'])).toBe('');
  expect(await run(['dmsetup', 'ls'])).toBe('No devices found\n');
  expect(readFileSync('/proc/mounts', 'utf8')).not.toContain('/run/busy-lab');
});
