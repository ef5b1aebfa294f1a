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

/** What marks a snapshot as one of ours. */
export const TEMPORARY_TAG = 'lvmsync.temporary';
const PREFIX = 'lvmsync-tmp-';

/** A read-only thin snapshot that lives as long as a run needs it. */
export interface TemporarySnapshot {
  /** `vg/lv`. */
  readonly name: string;
  readonly number: DeviceNumber;
  /** Removes it; whoever had it open has closed it by then. Throws CommandError. */
  remove(): Promise<void>;
}

/**
 * Makes a snapshot of a thin volume that is in use, active and read-only. LVM freezes what is mounted on the volume
 * for the moment that it takes. A lock in the state directory, taken before, tells other runs that it is needed.
 *
 * Throws CommandError where LVM refuses, LockedError, DeviceError; SnapshotError where LVM does not activate it, in the
 * volume's own name, as the snapshot is gone by then.
 */
export async function makeTemporarySnapshot(
  { fullName, group }: ThinLvmFacts,
  about: Surroundings,
): Promise<TemporarySnapshot> {
  const lvName = `${PREFIX}${randomBytes(4).toString('hex')}`;
  const name = `${group}/${lvName}`;
  const claim = await Claim.take(group, lvName, about);
  const remove = async () => {
    await removeClaimed(name, claim, about);
  };
  try {
    // Not activated at boot (-ky), but now (-K).
    const how = ['--snapshot', '-ky', '-K', '-ay', '-pr', '--addtag', TEMPORARY_TAG, '--name', lvName];
    await runLvm(about.spawner, ['lvcreate', '-qq', '-y', ...how, fullName]);
    const number = await findNode(name);
    if (number === null) throw await whyNotThere(fullName, name, about);
    return { name, number, remove };
  } catch (error) {
    // LVM takes back what it could not finish; where it did not, this does. What went wrong first says more.
    await remove().catch(() => undefined);
    throw error;
  }
}

/** Why a run needs a snapshot that its user did not make. */
const NEEDED = 'in use, so this run reads it from a snapshot that it makes';
const OWN_SNAPSHOT = 'or make a snapshot of it yourself, and name that';

async function whyNotThere(fullName: string, name: string, about: Surroundings): Promise<SnapshotError> {
  const why = await whyNoNode(about.spawner, name);
  const isInactive = why !== null && !why.isActive;
  const problem = isInactive
    ? describeNotActivated([`@${TEMPORARY_TAG}`])
    : (why?.problem ?? 'it has vanished');
  return new SnapshotError(fullName, `${NEEDED}; ${problem}, ${OWN_SNAPSHOT}`);
}

/**
 * Removes the snapshots of a volume group that runs before this one left because they were killed. One whose run is
 * still there stays; so does one that another host, or another state directory, knows of: a notice names it.
 */
export async function removeLeftOvers(group: string, about: Surroundings): Promise<void> {
  const rows = await listVolumes(about.spawner, ['lv_name'], group, { field: 'tags', value: TEMPORARY_TAG });
  for (const { lv_name: lvName } of rows ?? []) {
    const name = `${group}/${lvName}`;
    const claim = await Claim.takeOver(group, lvName, about);
    if (claim === 'unknown') {
      // Its run may have been there when LVM was asked, and have ended by now.
      if ((await lookUpVolume(about.spawner, ['lv_name'], name)) === null) continue;
      about.notice(
        `${name}: a temporary snapshot that this host's state directory does not know: remove it if no lvmsync runs (lvremove ${name})`,
      );
    } else if (claim !== 'in use' && (await removeClaimed(name, claim, about))) {
      about.notice(`${name}: removed; a run that was killed had left it`);
    }
  }
}

/**
 * Removes a snapshot, and says whether it was still there. Its claim ends only when it is gone: by that a later run
 * knows what this one had to leave.
 */
async function removeClaimed(name: string, claim: Claim, about: Surroundings): Promise<boolean> {
  const wasThere = await removeVolume(about.spawner, name).then(
    () => true,
    async (error: unknown) => {
      const found = await lookUpVolume(about.spawner, ['lv_name'], name).catch(() => undefined);
      if (found === null) return false;
      await claim.leave();
      about.notice(
        `${name}: this temporary snapshot stays, and takes room in its pool: the next run in its volume group removes it`,
      );
      throw error;
    },
  );
  await claim.end();
  return wasThere;
}

/** The sign, in the state directory, that a run of this host made a snapshot and needs it: locked while it lives. */
class Claim {
  private constructor(
    private readonly folder: string,
    private readonly lock: RunLock,
  ) {}

  static async take(group: string, lvName: string, about: Surroundings): Promise<Claim> {
    const folder = claimFolder(group, lvName, about);
    await makePrivateFolder(folder);
    const holder = { what: `a snapshot of ${group}`, pid: process.pid, startedAt: about.now() };
    return new Claim(folder, await lockFolder(folder, `the snapshot ${group}/${lvName}`, holder));
  }

  /** Takes the claim of a run that is no more. */
  static async takeOver(
    group: string,
    lvName: string,
    about: Surroundings,
  ): Promise<Claim | 'in use' | 'unknown'> {
    const isKnown = await stat(claimFolder(group, lvName, about)).then(
      () => true,
      () => false,
    );
    if (!isKnown) return 'unknown';
    try {
      return await Claim.take(group, lvName, about);
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

function claimFolder(group: string, lvName: string, about: Surroundings): string {
  return join(about.stateDir, 'temporary', group, lvName);
}
