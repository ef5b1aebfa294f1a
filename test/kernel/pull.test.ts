import { existsSync, statSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, mapDevice, sectorsOf, unmapDevices } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  startSshd,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { expectFailure, reportOf } from './support/outcomes.js';
import { installLvmsync, installScript, removeLvmsync } from './support/remote-lvmsync.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-pull';
const SNAPSHOT = `127.0.0.1:${GROUP}/snap`;
/** In blocks of 4 KiB. What the table names that changed after the later snapshot is the same in both, and drops out. */
const CHANGED_BYTES = (49 + 171) * 4096;

let sshd: Sshd;
let target = '';
let base = '';
let later = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  const origin = await createVolume(GROUP, 'origin', '8M');
  target = await createVolume(GROUP, 'target', '8M');
  await writeRandom(origin, 0, 8 << 20, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '8M', chunkSize: '16k' });
  base = await digestOf(origin);
  await writeRandom(origin, 0, 200_000, 'start');
  await writeRandom(origin, 5 << 20, 700_000, 'middle');
  later = await digestOf(origin);
  await createSnapshot(GROUP, 'origin', 'later', { size: '8M', chunkSize: '16k' });
  await writeRandom(origin, 7 << 20, 100_000, 'after');
});
afterAll(() => sshd.stop());
beforeEach(() => copyDevice(`/dev/${GROUP}/snap`, target));
afterEach(installLvmsync);

const pulled = ['pull', '--data-source', `${GROUP}/later`, SNAPSHOT] as const;

describe('a pull', () => {
  it('fetches the changes over the built-in ssh, and keeps the old bytes', async () => {
    const undo = '/run/pull.undo';
    const report = await reportOf(...pulled, target, '--snapback', undo);
    expect(await digestOf(target)).toBe(later);
    expect(report).toMatchObject({
      ...{ changedBytes: CHANGED_BYTES, source: SNAPSHOT, target, consistent: true, mismatches: 0 },
    });
    expect(report['sentBytes']).toBeGreaterThan(CHANGED_BYTES);
    expect(statSync(undo).size).toBeGreaterThan(CHANGED_BYTES);
  });

  it('writes nothing in a dry run, here through a remote shell', async () => {
    const { status, stderr } = await lvmsync([...pulled, target, '--dry-run', '--rsh', 'ssh -l root']);
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(
        /dry run: 1008 KiB .* would be sent to .*target; nothing was written/,
      ) as string,
    });
    expect(await digestOf(target)).toBe(base);
  });
});

describe('a pull that fails gives one clear error, of the right side', () => {
  it('if there is no such snapshot on the other host', async () => {
    const words = ['pull', `127.0.0.1:${GROUP}/none`, target];
    const stderr = await expectFailure(words, 4, /127\.0\.0\.1: vg-pull\/none: /);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(await digestOf(target)).toBe(base);
  });

  it('if the target is in use, before the other host is asked anything', async () => {
    installScript('touch /run/was-asked; exec "$LVMSYNC" "$@"');
    await mapDevice('holder', `0 ${await sectorsOf(target)} linear ${target} 0`);
    try {
      await expectFailure([...pulled, target], 3, /^lvmsync: \/dev\/vg-pull\/target: /);
    } finally {
      await unmapDevices('holder');
    }
    expect(existsSync('/run/was-asked')).toBe(false);
  });

  it('if the other host has no lvmsync', async () => {
    removeLvmsync();
    await expectFailure([...pulled, target], 10, /127\.0\.0\.1: lvmsync was not found; install it/);
  });

  it('if the sender is cut in the middle', async () => {
    installScript('"$LVMSYNC" "$@" | stdbuf -o0 head -c 500000');
    await expectFailure([...pulled, target], 9, /127\.0\.0\.1: the far side ended/);
  });
});
