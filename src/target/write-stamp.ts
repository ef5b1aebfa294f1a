import { readFile } from 'node:fs/promises';
import { readWriteCount, type DeviceNumber } from '../device/device-facts.js';
import { linkedDevices, readAttribute } from './device-tree.js';

/** Which writes to a device count: also those past a volume that has snapshots, or just its own. */
export type CountedWrites = 'all' | 'its own';

/**
 * A text that is another one after each write to a block device: how many there were, of which of the devices that
 * had this number, since which start of the kernel. Throws DeviceError.
 */
export async function writeStampOf(number: DeviceNumber, writes: CountedWrites = 'all'): Promise<string> {
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
  const below = writes === 'its own' ? [] : await linkedDevices(number, 'slaves');
  // An LVM merge writes past a volume that has snapshots, to the device underneath that all of them share.
  const shared = below.filter(({ dmName }) => dmName?.endsWith('-real') === true);
  const counts = await Promise.all([number, ...shared.map((each) => each.number)].map(countWrites));
  return `${bootId} ${counts.join(' on ')}`;
}

/**
 * The same, where it can also be the name of what the device holds: no other device ever has it, nor this one after a
 * write. Null on a kernel that does not tell two devices of one number apart (before 5.15). Throws DeviceError.
 */
export async function stillnessOf(number: DeviceNumber): Promise<string | null> {
  return (await sequenceOf(number)) === null ? null : await writeStampOf(number);
}

async function countWrites(number: DeviceNumber): Promise<string> {
  return `${number} ${(await sequenceOf(number)) ?? '-'} ${await readWriteCount(number)}`;
}

/** Another number for each device that ever was, since the kernel started: the count begins anew with each. */
function sequenceOf(number: DeviceNumber): Promise<string | null> {
  return readAttribute(`/sys/dev/block/${number}/diskseq`);
}
