import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdtemp, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeviceError, UnsafeTargetError } from '../../src/errors.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { guardTarget, stackOf } from '../../src/usage/guard.js';
import { parseMountInfo } from '../../src/usage/mount-tables.js';

/* What needs a device is shown in test/kernel/guard.test.ts; this is what a user without rights has of it. */

const spawner = new ProcessSpawner(process.env);
const guard = (target: string) => guardTarget(target, { spawner, sources: [] });

let place = '';
let image = '';
let sleepers: ChildProcess[] = [];
beforeEach(async () => {
  place = await mkdtemp(path.join(tmpdir(), 'lvmsync-guard-'));
  image = path.join(place, 'image');
  await writeFile(image, '');
  await truncate(image, 1 << 20);
});
afterEach(async () => {
  for (const sleeper of sleepers) sleeper.kill('SIGKILL');
  sleepers = [];
  await rm(place, { recursive: true });
});

/** Another process that has a file open, by a redirection of bash's. */
async function startOpener(redirection: string): Promise<ChildProcess> {
  const script = `exec 3${redirection}"$1"; echo open; exec sleep 60`;
  const child = spawn('bash', ['-c', script, 'opener', image], { stdio: ['ignore', 'pipe', 'inherit'] });
  sleepers.push(child);
  await once(child.stdout, 'data');
  return child;
}

describe('an image file as a target', () => {
  it('may be one that no one else writes to', async () => {
    await startOpener('<');
    const ours = await open(image, 'r+');
    await expect(guard(image)).resolves.toBeUndefined();
    await ours.close();
  });

  it('is refused while another process could write to it, under whatever name', async () => {
    const other = path.join(place, 'other name');
    await link(image, other);
    const writer = await startOpener('<>');
    const guarding = guard(other);
    await expect(guarding).rejects.toThrow(UnsafeTargetError);
    await expect(guarding).rejects.toThrow(
      `${other}: it is open in process ${writer.pid ?? 0} (sleep): stop that first`,
    );
  });

  it('is waited for while another process only has a quick look', async () => {
    const writer = await startOpener('>>');
    setTimeout(() => writer.kill('SIGKILL'), 200);
    await guard(image);
    expect(writer.killed).toBe(true);
  });

  it('is refused when it is the source, by whatever name', async () => {
    await symlink('image', path.join(place, 'link'));
    const sources = [{ name: 'the store', ...(await stackOf(['/dev/null', path.join(place, 'link')])) }];
    await expect(guardTarget(image, { spawner, sources })).rejects.toThrow(
      /image: it is a device or file that the source the store is read from: name the volume that is to receive/,
    );
    const other = path.join(place, 'other');
    await writeFile(other, '');
    await guardTarget(other, { spawner, sources });
  });
});

it('a folder, a terminal and a missing path are not targets', async () => {
  await expect(guard(place)).rejects.toThrow(UnsafeTargetError);
  await expect(guard('/dev/null')).rejects.toThrow(/neither a block device nor a regular file/);
  await expect(guard(path.join(place, 'nothing'))).rejects.toThrow(DeviceError);
  await expect(stackOf([path.join(place, 'nothing')])).rejects.toThrow(DeviceError);
});

it('a table of mounts reads as proc(5) says', () => {
  // The first line is the manual page's own example; the others are a real kernel's.
  const text = [
    '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
    '48 28 0:42 / /srv/a\\040b\\134c rw,relatime shared:9 - btrfs /dev/mapper/vg-a rw,subvolid=5',
    '49 28 254:3 / /srv/plain rw,relatime - ext4 /dev/mapper/vg-b rw',
    '',
  ].join('\n');
  expect(parseMountInfo(text)).toEqual([
    { number: '98:0', point: '/mnt2', type: 'ext3', source: '/dev/root' },
    { number: '0:42', point: '/srv/a b\\c', type: 'btrfs', source: '/dev/mapper/vg-a' },
    { number: '254:3', point: '/srv/plain', type: 'ext4', source: '/dev/mapper/vg-b' },
  ]);
});
