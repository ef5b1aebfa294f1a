import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { beforeAll, beforeEach, expect, it } from 'vitest';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { LiveWatch, watchVolume } from '../../src/snapshots/live-watch.js';
import { recordOf, type StateRecord } from '../../src/targets/state-record.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { blindnessIn } from '../../src/usage/write-stamp.js';
import { waitUntil } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  mapperName,
  run,
  writeRandom,
} from './support/lab.js';
import { runLvmsync } from './support/outcomes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-record';
const FOLDER = '/run/record';
const STATE = { is: 'exactly', identity: 'some snapshot', from: null } as const;

const REMAPPED = {
  holds: {
    ...STATE,
    believed: expect.stringMatching(/a snapshot of it was created, removed or merged/) as string,
  },
  isStale: false,
  gap: expect.stringMatching(/a snapshot of it was created, removed or merged/) as string,
};

let target = '';
let record: StateRecord;
useVolumeGroup(GROUP);
beforeAll(async () => {
  target = await createVolume(GROUP, 'target', '16M');
  record = recordOf(FOLDER, await targetKeyOf(target), new ProcessSpawner(process.env));
});
beforeEach(() => {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER);
});

it('a record is believed while nobody writes, and not after one write', async () => {
  await record.write(STATE);
  await digestOf(target);
  expect(await record.read()).toMatchObject({ holds: STATE, isStale: false });
  await writeRandom(target, 4096, 4096, 'someone else');
  expect(await record.read()).toMatchObject({ holds: null, isStale: true });
});

it('a record counts writes if the kernel does, and says so if the kernel was told not to', async () => {
  const iostats = `/sys/dev/block/${(await targetKeyOf(target)).number ?? ''}/queue/iostats`;
  const before = readFileSync(iostats, 'utf8');
  expect(blindnessIn(await record.stamp())).toBeNull();
  await record.write(STATE);
  writeFileSync(iostats, '0');
  try {
    const blindness = blindnessIn(await record.stamp());
    await writeRandom(target, 8192, 4096, 'someone else');
    // Linux 6.1 counts all the same, and 7.2 does not: either is seen.
    const known = await record.read();
    if (blindness === null) expect(known).toMatchObject({ holds: null, isStale: true });
    else {
      expect(blindness).toMatch(/iostats is 0/);
      expect(known.holds).toMatchObject({ believed: expect.stringMatching(/iostats is 0/) as string });
    }
  } finally {
    writeFileSync(iostats, before);
  }
});

it('a source is not known to be unwritten if the kernel does not count', async () => {
  const { number } = await targetKeyOf(target);
  if (number === null) throw new Error('no device');
  const spawner = new ProcessSpawner(process.env);
  const watchers = () => Promise.all([LiveWatch.begin(spawner, number), watchVolume(spawner, target)]);
  for (const watch of await watchers()) expect(await watch.sawNoWriter()).toBe(true);
  const iostats = `/sys/dev/block/${number}/queue/iostats`;
  const before = readFileSync(iostats, 'utf8');
  writeFileSync(iostats, '0');
  try {
    const watching = await watchers();
    await writeRandom(target, 8192, 4096, 'someone else');
    // Counted or not: Linux 6.1 counts all the same.
    for (const watch of watching) expect(await watch.sawNoWriter()).toBe(false);
  } finally {
    writeFileSync(iostats, before);
  }
});

it('a record is not believed after an LVM merge, which writes past the volume itself', async () => {
  await createSnapshot(GROUP, 'target', 'before', { size: '16M' });
  await writeRandom(target, 0, 1 << 20, 'applied');
  await record.write(STATE);
  expect(await record.read()).toMatchObject({ holds: STATE, isStale: false });
  const applied = await digestOf(target);
  await mergeSnapshot('before');
  expect(await digestOf(target)).not.toBe(applied);
  expect(await record.read()).toMatchObject(REMAPPED);
});

it('a record is only believed if a snapshot that was made later was merged, which nothing counted', async () => {
  await record.write(STATE);
  const before = await digestOf(target);
  await createSnapshot(GROUP, 'target', 'later', { size: '16M' });
  expect(await record.read()).toMatchObject(REMAPPED);
  await writeRandom(`/dev/${GROUP}/later`, 0, 65_536, 'into the snapshot');
  await mergeSnapshot('later');
  expect(await digestOf(target)).not.toBe(before);
  expect(await record.read()).toMatchObject(REMAPPED);
});

it('a record does not vouch for a target if a snapshot was merged into it since: the next run says so, or refuses it', async () => {
  const origin = await createVolume(GROUP, 'origin', '16M');
  await writeRandom(origin, 0, 1 << 20, 'some contents');
  await createSnapshot(GROUP, 'origin', 'first', { size: '16M' });
  const words = [`${GROUP}/first`, target, '--state-dir', '/run/record-state'];
  await runLvmsync('copy', ...words);
  await writeRandom(origin, 0, 4096, 'changed');
  await createSnapshot(GROUP, 'target', 'later', { size: '16M' });
  await writeRandom(`/dev/${GROUP}/later`, 8 << 20, 4096, 'into the snapshot');
  await mergeSnapshot('later');
  const { status, stderr } = await lvmsync(words);
  // The sample may happen to see it.
  if (status === 7) expect(stderr).toMatch(/something else wrote to it \(/);
  else
    expect([status, stderr]).toEqual([
      0,
      expect.stringMatching(/a snapshot of it was created, removed or merged since/),
    ]);
});

it('a record is as sure as before if the volume grew, and only believed if its mapping was loaded anew', async () => {
  await record.write(STATE);
  await run(['lvextend', '-qq', '-L', '+8M', `${GROUP}/target`]);
  expect(await record.read()).toEqual({ holds: STATE, isStale: false, run: null });
  const name = mapperName(GROUP, 'target');
  const table = await run(['dmsetup', 'table', name]);
  await reload(
    name,
    table.replace(/(linear \S+) (\d+)/, (_all, device: string, at: string) => `${device} ${Number(at) + 8}`),
  );
  try {
    expect(await record.read()).toMatchObject(REMAPPED);
  } finally {
    await reload(name, table);
  }
  expect(await record.read()).toMatchObject({ holds: STATE });
});

async function reload(name: string, table: string): Promise<void> {
  await run(['dmsetup', 'load', name, '--table', table.trim()]);
  await run(['dmsetup', 'suspend', name]);
  await run(['dmsetup', 'resume', name]);
}

async function mergeSnapshot(name: string): Promise<void> {
  await run(['lvconvert', '-qq', '--merge', `${GROUP}/${name}`]);
  await waitUntil('the merge is done', async () => {
    await run(['lvs', GROUP]);
    return !(await run(['dmsetup', 'status'])).includes('snapshot-merge');
  });
}
