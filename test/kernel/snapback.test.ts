import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, mapDevice, unmapDevices } from './support/devices.js';
import { createSnapshot, createVolume, digestOf, run, startSshd, writeRandom } from './support/lab.js';
import { expectFailure, reportOf, runLvmsync } from './support/outcomes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-snapback';
const SNAPSHOT = `${GROUP}/snap`;
const FOLDER = '/run/snapbacks';
const UNDO = `${FOLDER}/undo`;
const REDO = `${FOLDER}/redo`;

let target = '';
let base = '';
let changed = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  const origin = await createVolume(GROUP, 'origin', '8M');
  target = await createVolume(GROUP, 'target', '8M');
  await writeRandom(origin, 0, 6 << 20, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '8M', chunkSize: '4k' });
  base = await digestOf(origin);
  await writeRandom(origin, 0, 4096, 'first');
  await writeRandom(origin, 2 << 20, 1 << 20, 'more than one block');
  // bytes become zeroes, and zeroes bytes
  await run(['blkdiscard', '-z', '-o', String(5 << 20), '-l', '65536', origin]);
  await writeRandom(origin, 7 << 20, 12_288, 'was zero');
  await writeRandom(origin, (8 << 20) - 4096, 4096, 'last');
  changed = await digestOf(origin);
});
beforeEach(async () => {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER);
  await copyDevice(`/dev/${SNAPSHOT}`, target);
});

describe('a snapback', () => {
  it('takes the target back, and its own snapback takes it forward again', async () => {
    await runLvmsync(SNAPSHOT, target, '--snapback', UNDO);
    expect(await digestOf(target)).toBe(changed);
    expect(existsSync(`${UNDO}.partial`)).toBe(false);
    expect(statSync(UNDO).mode & 0o777).toBe(0o600);

    await runLvmsync('--apply', UNDO, '--snapback', REDO, target);
    expect(await digestOf(target)).toBe(base);

    await runLvmsync('-a', REDO, target);
    expect(await digestOf(target)).toBe(changed);
  });

  it('holds the old bytes of what changed, and no more', async () => {
    await runLvmsync('-b', UNDO, SNAPSHOT, target);
    // zeroes take no room: 64 KiB became zeroes, 16 KiB were
    const old = (1 << 20) + 4096 + 65_536;
    expect(statSync(UNDO).size).toBeGreaterThan(old);
    // the rest is frames, and the journal's marks: some 110 bytes a block
    expect(statSync(UNDO).size).toBeLessThan(old + 20_480);
    expect(await reportOf('inspect', UNDO)).toMatchObject({ type: 'stream', valid: true, whole: true });
  });

  it('lies on the host that writes the target', async () => {
    const sshd = await startSshd();
    try {
      // a relative name is one in the far side's home
      await runLvmsync(SNAPSHOT, `127.0.0.1:${target}`, '-b', 'far undo');
      expect(await digestOf(target)).toBe(changed);
      expect(existsSync('far undo')).toBe(false);
      await runLvmsync('--apply', `${homedir()}/far undo`, target);
      expect(await digestOf(target)).toBe(base);
      rmSync(`${homedir()}/far undo`);
    } finally {
      await sshd.stop();
    }
  });

  it('of a stream from a pipe takes the target back', async () => {
    await run(['bash', '-c', '"$@" --stdout >/run/stream', '-', ...lvmsyncWords()]);
    await runLvmsync('--apply', '/run/stream', '-b', UNDO, target);
    expect(await digestOf(target)).toBe(changed);
    await runLvmsync('--apply', UNDO, target);
    expect(await digestOf(target)).toBe(base);
  });

  it('of a stream in the Ruby tool’s format takes the target back, although its records overlap', async () => {
    const before = await digestOf(target);
    const stream = Buffer.concat([
      Buffer.from('lvmsync PROTO[3]\n'),
      ...[1000, 3000, 500, 3000].map((offset) => {
        const header = Buffer.alloc(12);
        header.writeBigUInt64BE(BigInt(offset));
        header.writeUInt32BE(2500, 8);
        return Buffer.concat([header, Buffer.alloc(2500, String(offset))]);
      }),
    ]);
    writeFileSync('/run/stream', stream);
    await runLvmsync('--apply', '/run/stream', '-b', UNDO, target);
    expect(await digestOf(target)).not.toBe(before);
    // That format names no state, and of records that overlap nothing proves what was there in between.
    await expectFailure(['--apply', UNDO, target], 7, /nothing proves that it holds the base of the undo/);
    await runLvmsync('--apply', UNDO, '--force=base', target);
    expect(await digestOf(target)).toBe(before);
  });
});

describe('a snapback that cannot be made', () => {
  it('never overwrites a file, and then nothing is written at all', async () => {
    writeFileSync(UNDO, 'precious');
    await expectFailure(
      [SNAPSHOT, target, '-b', UNDO],
      2,
      /undo: it already exists; a snapback never overwrites/,
    );
    expect(readFileSync(UNDO, 'utf8')).toBe('precious');
    expect(existsSync(`${UNDO}.partial`)).toBe(false);
    expect(await digestOf(target)).toBe(base);
  });

  it('is refused where its folder is missing', async () => {
    await expectFailure([SNAPSHOT, target, '-b', '/run/no/such/undo'], 8, /\/run\/no\/such: .*ENOENT/);
    expect(await digestOf(target)).toBe(base);
  });

  it('is refused with --stdout, which writes no target', async () => {
    await expectFailure([SNAPSHOT, '--stdout', '-b', UNDO], 2, /--snapback cannot be used with --stdout/);
    expect(existsSync(UNDO)).toBe(false);
  });
});

describe('a target that fails in the middle', () => {
  it('leaves FILE.partial, which is never mistaken for a whole one', async () => {
    // writes fail from 4 MiB on, reads do not
    const table = `0 8192 linear ${target} 0\n8192 8192 flakey ${target} 8192 0 1 1 error_writes`;
    const failing = await mapDevice('failing', table);
    try {
      const stderr = await expectFailure(
        [SNAPSHOT, failing, '-b', UNDO],
        8,
        /failing: write at byte \d+ failed: EIO/,
      );
      expect(stderr).toMatch(/failing: half-written/);
      expect(stderr).toContain(`${UNDO}.partial`);
    } finally {
      await unmapDevices('failing');
    }
    expect(existsSync(UNDO)).toBe(false);
    await expectFailure(['--apply', `${UNDO}.partial`, target], 5, /cut short/);
    await expectFailure([SNAPSHOT, target, '-b', UNDO], 2, /undo\.partial: an unfinished snapback is here/);
  });
});

function lvmsyncWords(): string[] {
  return [process.execPath, new URL('../../bin/lvmsync.js', import.meta.url).pathname, SNAPSHOT];
}
