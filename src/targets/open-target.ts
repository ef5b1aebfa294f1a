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

/** A device with its number; null: an image file. */
export type TargetDevice = BlockDevice & { readonly number: DeviceNumber | null };

/** Decides which targets may be opened. */
export type TargetLimit = Pick<AllowedTargets, 'include'>;

/** A target that no one else uses while it is open. */
export interface OpenTarget {
  readonly device: TargetDevice;
  /** Its folder under the state directory. */
  readonly folder: string;
  readonly stateDir: string;
  /** The `lvmsync recover` command for it, for messages. */
  readonly recoverWords: string;
  readonly record: StateRecord;
  /** Checks again that no one else used it until now. Throws UnsafeTargetError. */
  checkStillAlone(): Promise<void>;
  /** For a target that was just created: gives it its name, once it is complete. */
  readonly finish?: () => Promise<void>;
  /** For a target whose name that changed: moves its record, and returns the one to write from then on. */
  readonly moveRecord?: () => Promise<StateRecord>;
  close(): Promise<void>;
}

export interface OpenTargetOptions {
  /** An absolute path. */
  readonly stateDir: string;
  /** What this run does, for the message to a run that finds the target locked. */
  readonly what: string;
  /** The sources of this run on this host: the target must not be one of them. */
  readonly sources: readonly SourceStack[];
  /** The only targets that may be opened; null: no limit. */
  readonly allowed: TargetLimit | null;
  /** The run of a sender that this is part of: an earlier receiver of it gives way. */
  readonly run?: string | null;
  /** False for a file that we made. */
  readonly followLinks?: false;
}

/**
 * Opens a target for writing: locks it against other runs, and refuses it while anyone else uses it.
 *
 * Throws UnsafeTargetError, LockedError, DeviceError; CommandError if LVM cannot say why the target does not exist.
 *
 * @param name a path, or `VG/LV`
 */
export async function openTarget(
  name: string,
  options: OpenTargetOptions,
  env: Surroundings,
): Promise<OpenTarget> {
  // Checked before anything is created for the target, and again after it is opened, because its name may point
  // elsewhere by then.
  const { path, ...expected } = await admit(name, options.allowed, env);
  const folder = join(options.stateDir, 'targets', expected.key);
  await makePrivateFolder(folder);
  const holder = { what: options.what, pid: process.pid, startedAt: env.now(), run: options.run ?? null };
  const lock = await lockFolder(folder, 'the target', holder);
  let device: LocalDevice | null = null;
  try {
    await guardTarget(path, { spawner: env.spawner, sources: options.sources });
    device = await openLocalDevice(path, {
      writable: true,
      ...(options.followLinks === false ? { followLinks: false } : {}),
      discardUnitOf: (number) => findDiscardUnit(env.spawner, number),
      spawner: env.spawner,
    });
    const opened = device;
    await checkOpened(opened, name, expected, options.allowed);
    const foreign = await ForeignWrites.watch(opened);
    await holdAlone(opened, env.spawner);
    const record = recordOf(folder, expected, env.spawner);
    return {
      device,
      folder,
      stateDir: options.stateDir,
      recoverWords: wordsOfRecover(path, options.stateDir, env),
      record,
      checkStillAlone: () => checkStillAlone(opened, foreign, env.spawner),
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

/**
 * Opens a target for reading only, by a path or `VG/LV`. Throws UnsafeTargetError if it is not allowed, DeviceError.
 */
export async function openReadOnly(
  name: string,
  allowed: TargetLimit | null,
  env: Pick<Surroundings, 'spawner'>,
): Promise<LocalDevice> {
  const { spawner } = env;
  if (allowed === null) {
    return await openLocalDevice(await findVolumePath(name), { spawner }).catch(async (error: unknown) => {
      throw await explainNoTarget(spawner, name, error);
    });
  }
  const { path, ...expected } = await admit(name, allowed, env);
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
 * Resolves a name without opening anything, and refuses it if it is not allowed or does not exist. A client that may
 * open only some targets learns nothing about others: neither where their names point nor what LVM knows about them.
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
