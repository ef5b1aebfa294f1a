import { createHash, randomUUID } from 'node:crypto';
import { lstat, readdir, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { readWrittenSectors, type DeviceNumber } from '../device/device-facts.js';
import { countsWrites } from '../lvm/counted-writes.js';
import { groundOf, linkedDevices, readAttribute } from './device-tree.js';

/** Which writes to a device count: also those below a volume that has snapshots, or only the volume's own. */
export type CountedWrites = 'all' | 'its own';

/**
 * What two stamps say: no one wrote in between (`same`); someone did (`moved`); no one wrote through this device, but
 * the devices underneath it were replaced, as for a snapshot or by a merge (`remapped`); or it cannot be told
 * (`unknown`).
 */
export type StampVerdict = 'same' | 'moved' | 'remapped' | 'unknown';

/** After this a stamp says why it may stay the same although someone writes. */
const BLIND = ' blind: ';
const SECTORS = 'sectors';
/** After this a stamp says which devices are underneath a volume. */
const LAID_OVER = ' over ';
/** Begins the UUID of each LVM volume. */
export const LVM_UUID = 'LVM-';

/** File systems whose files other hosts may write, by their statfs type. */
const SHARED_FILE_SYSTEMS = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x65735546, 'FUSE'],
  [0x01021997, '9p'],
  [0x00c36400, 'Ceph'],
  [0x01161970, 'GFS2'],
  [0x7461636f, 'OCFS2'],
  [0x0bd00bd0, 'Lustre'],
]);

/** Folders in sysfs of disks that other hosts may write, or that do not count all writes. */
const SHARED_DISKS =
  /\/(?<kind>nbd\d|rbd\d|zd\d|drbd\d|session\d+\/|rport-\d|nvme-fabrics\/|vnd\d|gnbd\d)[^/]*/;

/**
 * A text that changes with each write to a block device: the boot, the device (numbers are reused), and how many
 * sectors were written and discarded. An empty flush is not a write. If the counts do not show every write, the text
 * says so. Throws DeviceError.
 */
export async function writeStampOf(number: DeviceNumber, writes: CountedWrites = 'all'): Promise<string> {
  const bootId = await readBootId();
  const below = writes === 'its own' ? [] : await linkedDevices(number, 'slaves');
  // An LVM merge bypasses a volume that has snapshots, and writes to the device underneath that all of them share.
  const shared = below.filter(({ dmName }) => dmName?.endsWith('-real') === true);
  const numbers = [number, ...shared.map((each) => each.number)];
  const counts = await Promise.all(numbers.map(countWrites));
  const links = writes === 'its own' ? null : await findLinks(number);
  const laidOver = links === null ? '' : LAID_OVER + links;
  const blindness = await whyBlind(numbers);
  const blind = blindness === null ? '' : BLIND + blindness;
  return `${SECTORS} ${bootId} ${counts.join(' on ')}${laidOver}${blind}`;
}

/**
 * The devices underneath an LVM volume, by the inodes of their links in sysfs; null: not an LVM volume. A merge writes
 * below the volume, which does not count that. After a merge, only these inodes differ: the links are created again
 * whenever a snapshot is created or removed, but not when a table with the same devices is loaded.
 */
async function findLinks(number: DeviceNumber): Promise<string | null> {
  const uuid = await readAttribute(`/sys/dev/block/${number}/dm/uuid`);
  if (uuid?.startsWith(LVM_UUID) !== true) return null;
  const folder = `/sys/dev/block/${number}/slaves`;
  const names = await readdir(folder).catch(() => []);
  const links = await Promise.all(names.map((name) => lstat(`${folder}/${name}`).catch(() => null)));
  const inodes = links.map((link) => link?.ino ?? 0);
  return inodes.sort((left, right) => left - right).join(',');
}

/** Whether a volume's stamp includes no device below it with a count of its own, as there is during a merge. */
export function isAlone(own: string, all: string): boolean {
  return own === all.replace(new RegExp(`${LAID_OVER}[0-9,]*`), '');
}

/** The same for a file: its inode and its times. Throws what stat throws. */
export async function fileStampOf(path: string): Promise<string> {
  const { mtimeNs, ctimeNs, ino } = await stat(path, { bigint: true });
  const { type } = await statfs(path);
  const shared = sharedFileSystemOf(type);
  return `file ${ino} ${mtimeNs} ${ctimeNs}${shared === null ? '' : `${BLIND}a file on ${shared}`}`;
}

/** The name of a file system whose files other hosts may write, by its statfs type; null: another file system. */
export function sharedFileSystemOf(type: number): string | null {
  return SHARED_FILE_SYSTEMS.get(type) ?? null;
}

/** The identifier of this boot. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
}

/** Whether someone wrote between two stamps of a target. */
export function compareStamps(before: string, now: string): StampVerdict {
  if (eraOf(before) !== eraOf(now)) return 'unknown';
  const [was, is] = [countsIn(before), countsIn(now)];
  const isMoved = [...was].some(([name, count]) => is.has(name) && is.get(name) !== count);
  if (isMoved) return 'moved';
  if (blindnessIn(now) !== null || blindnessIn(before) !== null) return 'unknown';
  if (before === now) return 'same';
  const [own] = was;
  return own !== undefined && is.get(own[0]) === own[1] ? 'remapped' : 'unknown';
}

/** Stamps of the same era can be compared: an era is a boot; for files there is only one. */
export function eraOf(stamp: string): string {
  return stamp
    .split(' ')
    .slice(0, stamp.startsWith(`${SECTORS} `) ? 2 : 1)
    .join(' ');
}

/** Why a stamp may stay the same although someone writes; null: it does not. */
export function blindnessIn(stamp: string): string | null {
  return stamp.split(BLIND)[1] ?? null;
}

/**
 * A stamp that can identify what the device holds: no other device ever has the same stamp, nor has this one after a
 * write. Null on a kernel that cannot tell apart two devices with the same number (before 5.15), and for a device whose
 * writes are not all counted. Throws DeviceError.
 */
export async function stillnessOf(number: DeviceNumber): Promise<string | null> {
  if ((await sequenceOf(number)) === null) return null;
  const stamp = await writeStampOf(number);
  return blindnessIn(stamp) === null ? stamp : null;
}

/** Begins the identity of a state that no snapshot froze: that of an origin that was not in use. */
export const STOPPED_PREFIX = 'stopped-';

/**
 * An identity for the state of an origin that is not in use. It is the same in each run that finds the same stamp, so
 * that one run can continue another; without a stamp, it is new each time.
 */
export function stoppedIdentity(stamp: string | null): string {
  if (stamp === null) return `${STOPPED_PREFIX}${randomUUID()}`;
  return `${STOPPED_PREFIX}${createHash('sha256').update(stamp).digest('hex').slice(0, 32)}`;
}

/** The counts in a stamp: one for each device, or one for the file. */
function countsIn(stamp: string): Map<string, string> {
  const [known = ''] = (stamp.split(BLIND)[0] ?? '').split(LAID_OVER);
  if (!known.startsWith(`${SECTORS} `)) return new Map([[eraOf(stamp), known]]);
  const counts = known.split(' ').slice(2).join(' ').split(' on ');
  return new Map(counts.map((each) => [each.replace(/ [^ ]*$/, ''), each]));
}

async function countWrites(number: DeviceNumber): Promise<string> {
  return `${number} ${(await sequenceOf(number)) ?? '-'} ${await readWrittenSectors(number)}`;
}

/** Why the counts of devices may stay the same although someone writes; null: they do not. */
async function whyBlind(numbers: readonly DeviceNumber[]): Promise<string | null> {
  for (const number of numbers) {
    if (!(await countsWrites(number))) return 'the kernel does not count its writes (queue/iostats is 0)';
    const ground = await groundOf(number);
    for (const each of [number, ...ground.numbers]) {
      const folder = await realpath(`/sys/dev/block/${each}`).catch(() => '');
      const kind = SHARED_DISKS.exec(folder)?.[0];
      if (kind !== undefined) return `other hosts may write to it (${kind.slice(1)})`;
    }
  }
  return null;
}

/**
 * The sequence number of a device: a new one for each device since the kernel started. Each begins a new count of
 * writes.
 */
export function sequenceOf(number: DeviceNumber): Promise<string | null> {
  return readAttribute(`/sys/dev/block/${number}/diskseq`);
}
