import { stat } from 'node:fs/promises';
import { CommandError, DeviceError, isErrno, UnsafeTargetError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { findDeviceNumber, nodeOf, whyNoNode } from './device-node.js';
import { parseVolumeName } from './lvs.js';

/**
 * The path of a volume or image file that a user named. An existing path is returned as it is; otherwise
 * `VG/LV` becomes `/dev/VG/LV` if that exists. Any other name is returned unchanged. LVM is not asked.
 */
export async function findVolumePath(name: string): Promise<string> {
  if (name.startsWith('/') || parseVolumeName(name) === null || (await exists(name))) return name;
  const path = `/dev/${name}`;
  return (await exists(path)) ? path : name;
}

/** The same for a volume that is only read: LVM looks for a name that has no path. Throws as `findDeviceNumber`. */
export async function findSourcePath(spawner: Spawner, name: string): Promise<string> {
  if ((await exists(name)) || (/^[./]/.test(name) && !name.startsWith('/dev/'))) return name;
  return await nodeOf(await findDeviceNumber(spawner, name));
}

/**
 * Explains the `error` of a target that does not exist: a volume that LVM knows by this name exists, but cannot be
 * written. Any other error is returned as it is.
 */
export async function explainNoTarget(spawner: Spawner, name: string, error: unknown): Promise<unknown> {
  if (!(error instanceof DeviceError) || !isErrno(error.cause, 'ENOENT')) return error;
  try {
    const why = await whyNoNode(spawner, name);
    return why === null ? error : new UnsafeTargetError(name, why.problem, { cause: error });
  } catch (failure) {
    if (!(failure instanceof CommandError && failure.mayNotAsk)) return failure;
    // Without LVM there are no volumes.
    if (isErrno(failure.cause, 'ENOENT')) return error;
    const problem = `it does not exist, or is an inactive volume, and this user may not ask LVM (${failure.message})`;
    return new DeviceError(error.path, 'stat', null, problem);
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
