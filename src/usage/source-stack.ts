import { stat } from 'node:fs/promises';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import { DeviceError } from '../errors.js';
import { groundOf, isSameFile, type FileIdentity, type Ground } from './device-tree.js';

/** What a source is read from. The target must not be any of it, on top of it, or underneath it. */
export interface SourceStack {
  /** The name that the user gave. */
  readonly name: string;
  readonly numbers: readonly DeviceNumber[];
  readonly files: readonly FileIdentity[];
}

/** The devices and files behind the paths that a source has opened. Throws DeviceError. */
export async function stackOf(paths: readonly string[]): Promise<Omit<SourceStack, 'name'>> {
  const numbers: DeviceNumber[] = [];
  const files: FileIdentity[] = [];
  for (const path of paths) {
    const stats = await stat(path).catch((error: unknown) => {
      throw new DeviceError(path, 'stat', null, error);
    });
    if (stats.isBlockDevice()) numbers.push(deviceNumberOf(stats));
    else files.push({ dev: stats.dev, ino: stats.ino });
  }
  return { numbers, files };
}

/** Why a target must not be written while this source is read, in words after "it is"; null: it may. */
export async function findOverlap(
  target: DeviceNumber | FileIdentity,
  source: SourceStack,
): Promise<string | null> {
  const advice = 'name the volume that is to receive the changes';
  const own = { numbers: new Set(source.numbers), files: source.files };
  if (holds(own, target)) return `a device or file that the source ${source.name} is read from: ${advice}`;
  const below = await groundOf(target);
  if (source.numbers.some((each) => below.numbers.has(each)) || sharesFile(below, source.files)) {
    return `on top of a device or file that the source ${source.name} is read from: ${advice}`;
  }
  for (const each of [...source.numbers, ...source.files]) {
    if (holds(await groundOf(each), target)) return `underneath the source ${source.name}: ${advice}`;
  }
  return null;
}

function holds(ground: Ground, wanted: DeviceNumber | FileIdentity): boolean {
  return typeof wanted === 'string' ? ground.numbers.has(wanted) : sharesFile(ground, [wanted]);
}

function sharesFile(ground: Ground, files: readonly FileIdentity[]): boolean {
  return files.some((file) => ground.files.some((each) => isSameFile(each, file)));
}
