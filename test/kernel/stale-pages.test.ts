import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLocalDevice } from '../../src/device/local-device.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { copyDevice, readDirectly, readThroughCache, scatterWrites } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  mapperName,
  removeVolumeGroup,
  run,
  seededBytes,
  writeRandom,
} from './support/lab.js';
import { reportOf, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';

const CHUNK = 4096;
const STORE = 2 << 20;

/*
 * Two traps of the kernel's, each shown first to be there (a buffered read is stale), then to be passed by, with
 * the stale pages still in the cache: nobody dropped them.
 */
describe.each([512, 4096])('on a disk with sectors of %i bytes', (sectorSize) => {
  const group = `vg-stale-${sectorSize}`;
  const image = '/run/stale.img';
  let disk = '/dev/ubda';
  let target = '';

  beforeAll(async () => {
    if (sectorSize !== 512) {
      writeFileSync(image, '');
      await run(['truncate', '-s', '96M', image]);
      disk = (await run(['losetup', '-f', '--show', '-b', String(sectorSize), image])).trim();
    }
    await createVolumeGroup(group, disk);
    target = await createVolume(group, 'target', '16M');
  });
  afterAll(async () => {
    await removeVolumeGroup(group);
    if (sectorSize === 512) return;
    await run(['losetup', '-d', disk]);
    rmSync(image);
  });

  describe('the store of a snapshot', () => {
    let origin = '';
    let store = '';
    const snapshot = `${group}/snap`;

    beforeAll(async () => {
      origin = await createVolume(group, 'origin', '16M');
      await writeRandom(origin, 0, 4 << 20, 'base');
      await createSnapshot(group, 'origin', 'snap', { size: '2M' });
      store = `/dev/mapper/${mapperName(group, 'snap')}-cow`;
      await copyDevice(`/dev/${snapshot}`, target);
    });

    it('is read as it is on disk, whatever its cached pages say', async () => {
      expect(Number(await run(['blockdev', '--getss', store]))).toBe(sectorSize);
      await scatterWrites(origin, { unit: CHUNK, stride: 3, count: 2, seed: 'before' });
      expect(await reportOf('inspect', snapshot)).toMatchObject({ exceptions: 2 });
      const cached = await readThroughCache(store, 0, STORE);

      await scatterWrites(origin, { unit: CHUNK, stride: 5, count: 9, seed: 'after' });
      await run(['sync']);
      expect(await readThroughCache(store, 0, STORE)).toBeBytes(cached);
      expect(await readDirectly(store, 0, STORE)).not.toBeBytes(cached);

      // chunks 0 and 3, then 0, 5, 10, … 40
      expect(await reportOf('inspect', snapshot)).toMatchObject({ exceptions: 10, changedBytes: 10 * CHUNK });
      await runLvmsync(snapshot, target);
      await expectSameBytes(target, origin);

      // still stale: nobody emptied a cache for it
      expect(await readThroughCache(store, 0, STORE)).toBeBytes(cached);
    });

    it('is also read afresh through the cache if there is no direct I/O, by dropping only its own pages', async () => {
      const bystander = seededBytes('cached', 4096);
      await writeRandom(target, 0, 4096, 'cached');
      const held = await openLocalDevice(target, { io: 'buffered', spawner });
      const device = await openLocalDevice(store, { io: 'buffered', spawner });
      const bytes = Buffer.alloc(STORE);
      try {
        await device.readAt(bytes, 0);
        const cached = Buffer.from(bytes);
        await writeRandom(origin, 100 * CHUNK, CHUNK, 'again');
        await device.readAt(bytes, 0);
        expect(bytes).toBeBytes(cached);

        await device.refresh();
        await device.readAt(bytes, 0);
        expect(bytes).not.toBeBytes(cached);
        expect(bytes).toBeBytes(await readDirectly(store, 0, STORE));
        const start = Buffer.alloc(4096);
        await held.readAt(start, 0);
        expect(start).toBeBytes(bystander);
      } finally {
        await device.close();
        await held.close();
      }
    });
  });

  describe('an origin with a mounted file system', () => {
    it('is read as it is on disk, whatever its cached pages say', async () => {
      const origin = await createVolume(group, 'mounted', '16M');
      await run(['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', origin]);
      mkdirSync('/run/stale', { recursive: true });
      await run(['mount', '-o', 'noatime', origin, '/run/stale']);
      try {
        await writeRandomFile('/run/stale/file', 'old');
        await createSnapshot(group, 'mounted', 'of-mounted', { size: '16M' });
        await copyDevice(`/dev/${group}/of-mounted`, target);
        const cached = await readThroughCache(origin, 0, 16 << 20);

        await writeRandomFile('/run/stale/file', 'new');
        const stale = await readThroughCache(origin, 0, 16 << 20);
        const fresh = await readDirectly(origin, 0, 16 << 20);
        // the file's new bytes are on disk, and not in what a buffered read shows
        expect(fresh.indexOf(seededBytes('new', 4096))).toBeGreaterThan(0);
        expect(stale.indexOf(seededBytes('new', 4096))).toBe(-1);
        expect(cached.indexOf(seededBytes('old', 4096))).toBe(fresh.indexOf(seededBytes('new', 4096)));

        await runLvmsync(`${group}/of-mounted`, target);
        await expectSameBytes(target, origin);
        const again = await readThroughCache(origin, 0, 16 << 20);
        expect(again.indexOf(seededBytes('new', 4096))).toBe(-1);
      } finally {
        await run(['umount', '/run/stale']);
      }
      // the copy is a file system with the new file in it
      await run(['mount', '-o', 'noatime', target, '/run/stale']);
      try {
        expect(readFileSync('/run/stale/file')).toBeBytes(seededBytes('new', 1 << 20));
      } finally {
        await run(['umount', '/run/stale']);
      }
    });
  });
});

const spawner = new ProcessSpawner(process.env);

/** Writes a file in place, and sees it onto the disk. */
async function writeRandomFile(file: string, seed: string): Promise<void> {
  await run(['dd', `of=${file}`, 'bs=1M', 'conv=notrunc,fsync', 'status=none'], {
    input: seededBytes(seed, 1 << 20),
  });
  await run(['sync']);
}
