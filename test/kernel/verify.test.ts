import { mkdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, mapDevice, sectorsOf, unmapDevices, waitUntil } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  mapperName,
  run,
  startSshd,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { expectFailure, expectPlainLines, reportOf, runLvmsync } from './support/outcomes.js';
import { installLvmsync, installScript, removeLvmsync } from './support/remote-lvmsync.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-verify';
const SIZE = 16 << 20;
const BASE = `${GROUP}/base`;

let sshd: Sshd;
let origin = '';
let target = '';
let far = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  origin = await createVolume(GROUP, 'origin', '16M');
  target = await createVolume(GROUP, 'target', '16M');
  far = `root@127.0.0.1:${target}`;
  await writeRandom(origin, 0, SIZE, 'base');
  await createSnapshot(GROUP, 'origin', 'base', { size: '20M', chunkSize: '16k', permission: 'r' });
  await writeRandom(origin, 3 << 20, 100_000, 'changed');
});
afterAll(() => sshd.stop());
beforeEach(() => copyDevice(origin, target));
afterEach(installLvmsync);

/** What verify must find: the status is 11, and these are the lines on stdout. */
async function expectDifferences(words: readonly string[], lines: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await lvmsync(['verify', ...words]);
  expect({ status, lines: stdout.split('\n').slice(0, -1), stderr }).toEqual({
    ...{ status: 11, lines },
    stderr: expect.stringMatching(/ does not equal .*: .* differ in /) as string,
  });
  expectPlainLines(stderr);
  return stderr;
}

describe.each([
  ['over the built-in ssh', () => [far]],
  ['over --rsh', () => [`127.0.0.1:${target}`, '--rsh', 'ssh -l root']],
  ['within one host', () => [target]],
])('two volumes, %s', (_how, wordsFor) => {
  it('are equal, or differ only in the sector that was flipped, until it is repaired', async () => {
    const words = [origin, ...wordsFor()];
    expect(await runLvmsync('verify', ...words)).toBe('');
    await writeRandom(target, 9 * 4096 + 512, 512, 'flipped');
    await writeRandom(target, SIZE - 512, 512, 'flipped');
    const before = await digestOf(target);
    const found = [`${9 * 4096} 4096`, `${SIZE - 4096} 4096`];
    await expectDifferences(words, found);
    expect(await digestOf(target)).toBe(before);
    expect(await runLvmsync('verify', ...words, '--repair')).toBe(found.map((line) => `${line}\n`).join(''));
    await expectSameBytes(target, origin);
    expect(await reportOf('verify', ...words)).toMatchObject({
      ...{ equal: true, comparedBytes: SIZE, differingBytes: 0, extents: [], consistent: true, a: origin },
    });
  });
});

describe('A', () => {
  it('may also be named as in LVM', async () => {
    expect(await runLvmsync('verify', `${GROUP}/origin`, target)).toBe('');
  });

  it('that is mounted is not a point-in-time copy, and a message says so', async () => {
    const mounted = await createVolume(GROUP, 'mounted', '16M');
    await run(['mkfs.ext4', '-q', '-F', mounted]);
    mkdirSync('/run/verified', { recursive: true });
    await run(['mount', mounted, '/run/verified']);
    try {
      await run(['sync']);
      await copyDevice(mounted, target);
      const { stderr, status } = await lvmsync(['verify', mounted, target]);
      expect([status, stderr]).toEqual([expect.any(Number), expect.stringMatching(/warning: .*was in use/)]);
    } finally {
      await run(['umount', '/run/verified']);
    }
  });
});

describe('--changed', () => {
  it('reads no more than what changed since the snapshot', async () => {
    await writeRandom(target, (3 << 20) + 8192, 4096, 'lost');
    await writeRandom(target, 12 << 20, 512, 'foreign');
    const words = [origin, far, '--changed', BASE];
    await expectDifferences(words, [`${(3 << 20) + 8192} 4096`]);
    const { status, stdout } = await lvmsync(['verify', ...words, '--json']);
    expect([status, JSON.parse(stdout)]).toEqual([
      11,
      expect.objectContaining({ comparedBytes: 7 * 16_384, differingBytes: 4096, outsideBytes: null }),
    ]);
  });

  it('with --audit finds what was changed without the snapshot’s knowledge', async () => {
    // Written past dm-snapshot: its table knows nothing of it.
    await writeRandom(`/dev/mapper/${mapperName(GROUP, 'origin')}-real`, 13 << 20, 4096, 'behind');
    const words = [origin, far, '--changed', BASE];
    expect(await runLvmsync('verify', ...words)).toBe('');
    const audited = [...words, '--audit', '100'];
    const stderr = await expectDifferences(audited, [`${13 << 20} 4096`]);
    expect(stderr).toMatch(/warning: 4 KiB of it differ although vg-verify\/base does not list them/);
    await runLvmsync('verify', ...audited, '--repair');
    await expectSameBytes(target, origin);
  });

  it('compares a later snapshot of the same volume, and nothing else', async () => {
    const later = await createSnapshot(GROUP, 'origin', 'later', { size: '4M', permission: 'r' });
    expect(await reportOf('verify', later, far, '--changed', BASE)).toMatchObject({
      ...{ equal: true, consistent: true },
    });
    await createVolume(GROUP, 'other', '16M');
    await createSnapshot(GROUP, 'other', 'of-other', { size: '4M' });
    const words = ['verify', `/dev/${GROUP}/of-other`, target, '--changed', BASE];
    await expectFailure(words, 2, /a snapshot of .*other, but/);
    await expectFailure(['verify', origin, target, '--changed', `${GROUP}/other`], 4, /other/);
    await run(['lvremove', '-qq', '-f', `${GROUP}/later`, `${GROUP}/other`]);
  });
});

describe('a failure is one clear error', () => {
  it('if the far side has no lvmsync', async () => {
    removeLvmsync();
    await expectFailure(['verify', origin, far], 10, /127\.0\.0\.1: lvmsync was not found; install it/);
  });

  it('if its lvmsync is too old for it', async () => {
    installScript('exec "$LVMSYNC" receive --no-such-option "$@"');
    await expectFailure(['verify', origin, far], 10, /its lvmsync is probably too old/);
  });

  it('if B is smaller, and B is not written', async () => {
    const small = await createVolume(GROUP, 'small', '8M');
    await writeRandom(small, 0, 8 << 20, 'small');
    const before = await digestOf(small);
    await expectFailure(['verify', origin, `127.0.0.1:${small}`, '--repair'], 3, /small: too small: it has/);
    expect(await digestOf(small)).toBe(before);
  });

  it('if a sector of B cannot be read', async () => {
    const sectors = await sectorsOf(target);
    const table = [
      `0 8000 linear ${target} 0`,
      '8000 8 error',
      `8008 ${sectors - 8008} linear ${target} 8008`,
    ];
    const bad = await mapDevice('bad', table.join('\n'));
    try {
      await expectFailure(['verify', origin, `127.0.0.1:${bad}`], 8, /127\.0\.0\.1: .*bad: read at byte/);
      await expectFailure(['verify', bad, target], 8, /bad: read at byte/);
    } finally {
      await unmapDevices('bad');
    }
  });

  it('if the line is cut in the middle', async () => {
    installScript('echo $$ >/run/far.pid; exec "$LVMSYNC" "$@"');
    const slow = await mapDevice('slow-verify', `0 ${await sectorsOf(target)} delay ${target} 0 400`);
    try {
      const verifying = lvmsync(['verify', origin, `127.0.0.1:${slow}`]);
      const hasRead = () => readsFrom('slow-verify').then((reads) => reads > 0);
      await waitUntil('the far side reads', hasRead);
      process.kill(Number(readFileSync('/run/far.pid', 'utf8')), 'SIGKILL');
      const { status, stdout, stderr } = await verifying;
      expect({ status, stdout, stderr }).toEqual({
        ...{ status: 9, stdout: '' },
        stderr: expect.stringMatching(/127\.0\.0\.1: .*KILL/) as string,
      });
      expectPlainLines(stderr);
    } finally {
      await unmapDevices('slow-verify');
    }
  });
});

async function readsFrom(name: string): Promise<number> {
  const number = (await run(['dmsetup', 'info', '-c', '--noheadings', '-o', 'blkdevname', name])).trim();
  return Number(readFileSync(`/sys/class/block/${number}/stat`, 'utf8').trim().split(/\s+/)[0]);
}
