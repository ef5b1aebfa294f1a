import { join } from 'node:path';
import { isZero } from '../bytes/contents.js';
import { splitExtents } from '../bytes/extent.js';
import { openLocalDevice, type LocalDevice } from '../device/local-device.js';
import type { Surroundings } from '../host/surroundings.js';
import { allocateAligned, freeAligned } from '../memory/aligned-memory.js';
import { targetKeyOf, readVolumeSize } from '../targets/target-key.js';

const PIECE = 1024 * 1024;

/**
 * Opens a device or file to read all of it. If lvmsync copied a smaller volume to it, opens only the part that is that
 * volume, provided that the rest is zero. Throws DeviceError, CommandError.
 *
 * @param path its path as a target
 * @param readFrom the path that its bytes are read from
 */
export async function openVolumePart(
  path: string,
  readFrom: string,
  env: Pick<Surroundings, 'spawner' | 'stateDir' | 'notice'>,
): Promise<LocalDevice> {
  const device = await openLocalDevice(readFrom, { spawner: env.spawner });
  try {
    await device.refresh();
    const { key } = await targetKeyOf(path);
    const size = await readVolumeSize(join(env.stateDir, 'targets', key), device.size);
    if (size === null || !(await isZeroFrom(device, size))) return device;
    const sizes = `${size} of ${device.size} bytes are the volume that was copied to it`;
    env.notice(`${path}: ${sizes}; the zeroes after it are left out`);
    const part = await openLocalDevice(readFrom, { spawner: env.spawner, most: size });
    await device.close();
    return part;
  } catch (error) {
    await device.close();
    throw error;
  }
}

async function isZeroFrom(device: LocalDevice, offset: number): Promise<boolean> {
  const bytes = allocateAligned(PIECE);
  try {
    for (const extent of splitExtents([{ offset, length: device.size - offset }], PIECE)) {
      const piece = bytes.subarray(0, extent.length);
      await device.readAt(piece, extent.offset);
      if (!isZero(piece)) return false;
    }
    return true;
  } finally {
    freeAligned(bytes);
  }
}
