import { randomBytes } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { DeviceNumber } from '../device/device-facts.js';
import { LockedError, SnapshotError } from '../errors.js';
import { makePrivateFolder } from '../host/durable-file.js';
import { lockFolder, type RunLock } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { describeNotActivated } from '../lvm/create-volume.js';
import { findNode, whyNoNode } from '../lvm/device-node.js';
import { listVolumes, lookUpVolume } from '../lvm/lvs.js';
import { removeVolume, runLvm } from '../lvm/run-lvm.js';
import type { ThinLvmFacts } from './thin-volume.js';

/** Marks a snapshot as one of ours. */
export const TEMPORARY_TAG = 'lvmsync.temporary';
const PREFIX = 'lvmsync-tmp-';

/** A read-only thin snapshot that exists as long as a run needs it. */
export interface TemporarySnapshot {
  /** `vg/lv`. */
  readonly name: string;
  readonly number: DeviceNumber;
  /** Removes it; it must be closed by then. Throws CommandError. */
  remove(): Promise<void>;
}

/**
 * Makes a snapshot of a thin volume that is in use, active and read-only. LVM freezes a file system mounted on the
 * volume for a moment. A lock in the state directory, taken before, shows other runs that the snapshot is needed.
 *
 * Throws CommandError if LVM refuses, LockedError, DeviceError; SnapshotError if LVM does not activate the snapshot:
 * it is about the volume, because the snapshot is gone by then.
 */
export async function makeTemporarySnapshot(
  { fullName, group }: ThinLvmFacts,
  env: Surroundings,
): Promise<TemporarySnapshot> {
  const lvName = `${PREFIX}${randomBytes(4).toString('hex')}`;
  const name = `${group}/${lvName}`;
  const claim = await Claim.take(group, lvName, env);
  const remove = async () => {
    await removeClaimed(name, claim, env);
  };
  try {
    // Not activated at boot (-ky), but now (-K).
    const how = ['--snapshot', '-ky', '-K', '-ay', '-pr', '--addtag', TEMPORARY_TAG, '--name', lvName];
    await runLvm(env.spawner, ['lvcreate', '-qq', '-y', ...how, fullName]);
    const number = await findNode(name);
    if (number === null) throw await whyNotThere(fullName, name, env);
    return { name, number, remove };
  } catch (error) {
    // LVM removes what it could not finish; if it did not, this does. The first error says more.
    await remove().catch(() => undefined);
    throw error;
  }
}

/** Why a run needs a snapshot that its user did not make. */
const NEEDED = 'in use, so lvmsync reads it from a temporary snapshot';
const OWN_SNAPSHOT = 'or make a snapshot of it yourself, and give its name';

async function whyNotThere(fullName: string, name: string, env: Surroundings): Promise<SnapshotError> {
  const why = await whyNoNode(env.spawner, name);
  const isInactive = why !== null && !why.isActive;
  const problem = isInactive
    ? describeNotActivated([`@${TEMPORARY_TAG}`])
    : (why?.problem ?? 'it has disappeared');
  return new SnapshotError(fullName, `${NEEDED}; ${problem}, ${OWN_SNAPSHOT}`);
}

/**
 * Removes the snapshots of a volume group that earlier runs left because they were killed. A snapshot whose run is
 * still alive stays; so does one that belongs to another host or another state directory: a notice gives its name.
 */
export async function removeLeftOvers(group: string, env: Surroundings): Promise<void> {
  const rows = await listVolumes(env.spawner, ['lv_name'], group, { field: 'tags', value: TEMPORARY_TAG });
  for (const { lv_name: lvName } of rows ?? []) {
    const name = `${group}/${lvName}`;
    const claim = await Claim.takeOver(group, lvName, env);
    if (claim === 'unknown') {
      // Its run may have existed when LVM was asked, and have ended by now.
      if ((await lookUpVolume(env.spawner, ['lv_name'], name)) === null) continue;
      env.notice(
        `${name}: this temporary snapshot is not recorded in this host's state directory: remove it if no lvmsync is running (lvremove ${name})`,
      );
    } else if (claim !== 'in use' && (await removeClaimed(name, claim, env))) {
      env.notice(`${name}: removed; a killed run had left it behind`);
    }
  }
}

/**
 * Removes a snapshot, and returns whether it still existed. Its claim ends only when the snapshot is gone, so that a
 * later run knows what this one could not remove.
 */
async function removeClaimed(name: string, claim: Claim, env: Surroundings): Promise<boolean> {
  const wasThere = await removeVolume(env.spawner, name).then(
    () => true,
    async (error: unknown) => {
      const found = await lookUpVolume(env.spawner, ['lv_name'], name).catch(() => undefined);
      if (found === null) return false;
      await claim.leave();
      env.notice(
        `${name}: this temporary snapshot could not be removed, and takes up space in its pool: the next run in its volume group removes it`,
      );
      throw error;
    },
  );
  await claim.end();
  return wasThere;
}

/**
 * Shows, in the state directory, that a run of this host made a snapshot and needs it: locked while the run is alive.
 */
class Claim {
  private constructor(
    private readonly folder: string,
    private readonly lock: RunLock,
  ) {}

  static async take(group: string, lvName: string, env: Surroundings): Promise<Claim> {
    const folder = claimFolder(group, lvName, env);
    await makePrivateFolder(folder);
    const holder = { what: `a snapshot of ${group}`, pid: process.pid, startedAt: env.now() };
    return new Claim(folder, await lockFolder(folder, `the snapshot ${group}/${lvName}`, holder));
  }

  /** Takes the claim of a run that has ended. */
  static async takeOver(
    group: string,
    lvName: string,
    env: Surroundings,
  ): Promise<Claim | 'in use' | 'unknown'> {
    const isKnown = await stat(claimFolder(group, lvName, env)).then(
      () => true,
      () => false,
    );
    if (!isKnown) return 'unknown';
    try {
      return await Claim.take(group, lvName, env);
    } catch (error) {
      if (error instanceof LockedError) return 'in use';
      throw error;
    }
  }

  /** Leaves it to the next run. */
  async leave(): Promise<void> {
    await this.lock.release();
  }

  async end(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
    await this.lock.release();
  }
}

function claimFolder(group: string, lvName: string, env: Surroundings): string {
  return join(env.stateDir, 'temporary', group, lvName);
}
