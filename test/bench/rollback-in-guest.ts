import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StateRecord } from '../../src/targets/state-record.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { run } from '../kernel/support/run.js';
import { createVolume, createVolumeGroup, mapperName } from '../kernel/support/volumes.js';
import { LVMSYNC } from './builds.js';
import { timeRun } from './measure.js';
import { ScatteredVolume, VOLUME_GIB, type RollbackSeconds } from './rollback-volume.js';

/*
 * Runs inside the guest of rollback.ts, as root: volumes on /dev/ubda, archives and state directory on /dev/ubdb.
 * Prints each round as a line of JSON.
 */

const ROUNDS = 2;
const GROUP = 'bench';
const FOLDER = '/run/bench';
const STATE = `${FOLDER}/state`;
/** To read all of a volume takes long in the guest: it is read in the last round; before, one MiB of so many. */
const SAMPLED = 16;
/** How often the kernel is asked whether it has merged all. */
const PAUSE_MS = 200;

async function prepare(gib: number): Promise<ScatteredVolume> {
  const volume = new ScatteredVolume(await createVolume(GROUP, `volume${gib}`, `${gib}G`), gib);
  mkdirSync(archivesOf(volume));
  await volume.writeUndo(`${archivesOf(volume)}/undo`);
  return volume;
}

function archivesOf({ gib }: ScatteredVolume): string {
  return `${FOLDER}/archives${gib}`;
}

/** @param step what of the volume is looked at afterwards: one MiB of so many */
async function round(volume: ScatteredVolume, step: number): Promise<RollbackSeconds> {
  await change(volume);
  const started = performance.now();
  const instant = await restore(volume, '--instant');
  volume.expectOld(SAMPLED);
  await waitForMerge(volume);
  const merged = (performance.now() - started) / 1000;
  await waitForLvm();
  volume.expectOld(step);
  await change(volume);
  const plain = await restore(volume);
  volume.expectOld(step);
  return { gib: volume.gib, instant, merged, plain };
}

/** Brings a volume to its new state, as a transfer would that ended here. */
async function change(volume: ScatteredVolume): Promise<void> {
  volume.change();
  const { key, realPath, number } = await targetKeyOf(volume.path);
  const folder = path.join(STATE, 'targets', key);
  mkdirSync(folder, { recursive: true });
  const record = new StateRecord(folder, { path: realPath, number });
  await record.write({ is: 'exactly', identity: 'new', from: null });
}

/** Takes it back to its old state; the seconds that took, start of Node included. */
async function restore(volume: ScatteredVolume, ...how: readonly string[]): Promise<number> {
  const words = ['--to', 'old', '--from', archivesOf(volume), '--state-dir', STATE, ...how];
  return (await timeRun([process.execPath, LVMSYNC, 'restore', volume.path, ...words])).seconds;
}

async function waitForMerge({ gib }: ScatteredVolume): Promise<void> {
  for (;;) {
    const status = await run(['dmsetup', 'status', mapperName(GROUP, `volume${gib}`)]);
    const [, type, allocated, metadata] = /^\d+ \d+ (\S+)(?: (\d+)\/\d+ (\d+))?/.exec(status) ?? [];
    if (type !== 'snapshot-merge' || (allocated !== undefined && allocated === metadata)) return;
    await sleep(PAUSE_MS);
  }
}

/** LVM looks after a merge each quarter of a minute, unless it is told to: then it removes the store. */
async function waitForLvm(): Promise<void> {
  await run(['vgchange', '-qq', '--poll', 'y', GROUP]);
  while ((await run(['lvs', '-a', '--noheadings', '-o', 'lv_name', GROUP])).includes('rollback')) {
    await sleep(PAUSE_MS);
  }
}

await createVolumeGroup(GROUP);
await run(['mkfs.ext4', '-q', '-F', '/dev/ubdb']);
mkdirSync(FOLDER);
await run(['mount', '/dev/ubdb', FOLDER]);
const volumes: ScatteredVolume[] = [];
for (const gib of VOLUME_GIB) volumes.push(await prepare(gib));
for (let left = ROUNDS - 1; left >= 0; left--) {
  for (const volume of volumes) console.log(JSON.stringify(await round(volume, left === 0 ? 1 : SAMPLED)));
}
await run(['umount', FOLDER]);
