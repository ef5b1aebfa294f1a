import { join } from 'node:path';
import type { BlockDevice } from '../device/block-device.js';
import type { DeviceNumber } from '../device/device-facts.js';
import { openLocalDevice, type LocalDevice } from '../device/local-device.js';
import { UnsafeTargetError } from '../errors.js';
import { makePrivateFolder } from '../host/durable-file.js';
import { lockFolder } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { explainNoTarget, findVolumePath } from '../lvm/volume-path.js';
import { findDiscardUnit } from '../snapshots/thin-pool.js';
import { showCommand } from '../transport/shell-words.js';
import { ForeignWrites } from '../usage/foreign-writes.js';
import { checkStillAlone, guardTarget, holdAlone, type SourceStack } from '../usage/guard.js';
import { notAllowed, type AllowedTargets, type TargetIdentity } from './allowed-targets.js';
import { recordOf, type StateRecord } from './state-record.js';
import { targetKeyOf, type TargetKey } from './target-key.js';

/** A device that knows its number, null of an image file. */
export type TargetDevice = BlockDevice & { readonly number: DeviceNumber | null };

/** What tells whether a target may be opened at all. */
export type TargetLimit = Pick<AllowedTargets, 'include'>;

/** A target that is ours alone while it is open. */
export interface OpenTarget {
  readonly device: TargetDevice;
  /** Its folder under the state directory. */
  readonly folder: string;
  readonly stateDir: string;
  /** The command that takes it back, for messages. */
  readonly recoverWords: string;
  readonly record: StateRecord;
  /** Looks again whether it was ours alone until now. Throws UnsafeTargetError. */
  checkStillAlone(): Promise<void>;
  /** Of one that was made for this: gives it its name, once all of it is there. */
  readonly finish?: () => Promise<void>;
  /** Of one whose name that changed: the record to write from then on. */
  readonly moveRecord?: () => Promise<StateRecord>;
  close(): Promise<void>;
}

export interface OpenTargetOptions {
  /** A whole path. */
  readonly stateDir: string;
  /** What is being done, for whoever finds the target locked. */
  readonly what: string;
  /** The sources of this run that are of this host: none of them may be the target. */
  readonly sources: readonly SourceStack[];
  /** The only targets that may be opened; null where there is no such limit. */
  readonly allowed: TargetLimit | null;
  /** The run of a sender that this is part of: an earlier receiver of it gives way. */
  readonly run?: string | null;
  /** False for a file that we made. */
  readonly followLinks?: false;
}

/**
 * Opens a target for writing: locked against other runs, and refused while anyone else holds it.
 *
 * Throws UnsafeTargetError, LockedError, DeviceError; CommandError where LVM cannot tell why it is not there.
 *
 * @param name a path, or `VG/LV`
 */
export async function openTarget(
  name: string,
  options: OpenTargetOptions,
  about: Surroundings,
): Promise<OpenTarget> {
  // Before anything is made for it, and again of what was opened: its name may lead elsewhere by then.
  const { path, ...expected } = await admit(name, options.allowed, about);
  const folder = join(options.stateDir, 'targets', expected.key);
  await makePrivateFolder(folder);
  const holder = { what: options.what, pid: process.pid, startedAt: about.now(), run: options.run ?? null };
  const lock = await lockFolder(folder, 'the target', holder);
  let device: LocalDevice | null = null;
  try {
    await guardTarget(path, { spawner: about.spawner, sources: options.sources });
    device = await openLocalDevice(path, {
      writable: true,
      ...(options.followLinks === false ? { followLinks: false } : {}),
      discardUnitOf: (number) => findDiscardUnit(about.spawner, number),
      spawner: about.spawner,
    });
    const opened = device;
    await checkOpened(opened, name, expected, options.allowed);
    const foreign = await ForeignWrites.watch(opened);
    await holdAlone(opened, about.spawner);
    const record = recordOf(folder, expected, about.spawner);
    return {
      device,
      folder,
      stateDir: options.stateDir,
      recoverWords: wordsOfRecover(path, options.stateDir, about),
      record,
      checkStillAlone: () => checkStillAlone(opened, foreign, about.spawner),
      close: async () => {
        await opened.close().finally(() => lock.release());
      },
    };
  } catch (error) {
    await device?.close();
    await lock.release();
    throw error;
  }
}

/** Opens a target that is only read, by a path or `VG/LV`. Throws UnsafeTargetError where it is not allowed, DeviceError. */
export async function openReadOnly(
  name: string,
  allowed: TargetLimit | null,
  about: Pick<Surroundings, 'spawner'>,
): Promise<LocalDevice> {
  const { spawner } = about;
  if (allowed === null) {
    return await openLocalDevice(await findVolumePath(name), { spawner }).catch(async (error: unknown) => {
      throw await explainNoTarget(spawner, name, error);
    });
  }
  const { path, ...expected } = await admit(name, allowed, about);
  const device = await openLocalDevice(path, { spawner });
  try {
    await checkOpened(device, name, expected, allowed);
    return device;
  } catch (error) {
    await device.close();
    throw error;
  }
}

/**
 * What a name means, by a look that opens nothing; refused here where it is not allowed, or does not exist. Who is
 * allowed some targets only learns nothing of others: neither where their name leads nor what LVM knows of it.
 */
async function admit(
  name: string,
  allowed: TargetLimit | null,
  { spawner }: Pick<Surroundings, 'spawner'>,
): Promise<TargetKey & { readonly path: string }> {
  const path = await findVolumePath(name);
  const finding = targetKeyOf(path);
  if (allowed === null) {
    const key = await finding.catch(async (error: unknown) => {
      throw await explainNoTarget(spawner, name, error);
    });
    return { ...key, path };
  }
  const key = await finding.catch(() => null);
  if (key === null || !(await allowed.include(key))) throw notAllowed(name);
  return { ...key, path };
}

function wordsOfRecover(path: string, stateDir: string, usual: Pick<Surroundings, 'stateDir'>): string {
  const options = stateDir === usual.stateDir ? [] : ['--state-dir', stateDir];
  return showCommand(['lvmsync', 'recover', ...options, path]);
}

async function checkOpened(
  device: LocalDevice,
  name: string,
  expected: TargetIdentity,
  allowed: TargetLimit | null,
): Promise<void> {
  const { number, path } = device;
  if (number !== expected.number) {
    throw new UnsafeTargetError(path, 'its path changed to another device or file while it was being opened');
  }
  if (allowed === null) return;
  const realPath = await device.realPath();
  const isExpected = number !== null || realPath === expected.realPath;
  if (!isExpected || !(await allowed.include({ number, realPath }))) throw notAllowed(name);
}
