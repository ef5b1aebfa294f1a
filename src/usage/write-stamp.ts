import { lstat, readdir, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { readWrittenSectors, type DeviceNumber } from '../device/device-facts.js';
import { countsWrites } from '../lvm/counted-writes.js';
import { groundOf, linkedDevices, readAttribute } from './device-tree.js';

/** Which writes to a device count: also those past a volume that has snapshots, or just its own. */
export type CountedWrites = 'all' | 'its own';

/**
 * What two stamps say: nobody wrote in between; someone did; nobody wrote through this very device, but what it leads to
 * was exchanged meanwhile, as for a snapshot or by a merge; or that cannot be told.
 */
export type StampVerdict = 'same' | 'moved' | 'remapped' | 'unknown';

/** Behind this a stamp says why it may stand still although someone writes. */
const BLIND = ' blind: ';
const SECTORS = 'sectors';
/** Behind this a stamp says what a volume is laid over. */
const LAID_OVER = ' over ';
/** How the UUIDs of LVM's volumes begin. */
export const LVM_UUID = 'LVM-';

/** File systems whose files other hosts write, by the numbers that statfs has for them. */
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

/** Folders of sysfs in which disks lie that other hosts may write, or that do not count all writes. */
const SHARED_DISKS =
  /\/(?<kind>nbd\d|rbd\d|zd\d|drbd\d|session\d+\/|rport-\d|nvme-fabrics\/|vnd\d|gnbd\d)[^/]*/;

/**
 * A text that is another one after each write to a block device: how many sectors were written and discarded, of which
 * of the devices that had this number, since which start of the kernel. An empty flush is no write. Where such counts
 * do not show everything, the text says so. Throws DeviceError.
 */
export async function writeStampOf(number: DeviceNumber, writes: CountedWrites = 'all'): Promise<string> {
  const bootId = await readBootId();
  const below = writes === 'its own' ? [] : await linkedDevices(number, 'slaves');
  // An LVM merge writes past a volume that has snapshots, to the device underneath that all of them share.
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
 * What an LVM volume is laid over, by the inodes of sysfs's links to it; null of anything else. A merge writes below the
 * volume, which does not count it; when it is over, all is as it was but for these, which are made anew with each
 * snapshot and each end of one. A table for the same devices leaves them.
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

/** Whether a volume's stamp shows nothing below it that counts for itself, as long as a merge lasts. */
export function isAlone(own: string, all: string): boolean {
  return own === all.replace(new RegExp(`${LAID_OVER}[0-9,]*`), '');
}

/** The same of a file: which one it is, and its times. Throws what stat throws. */
export async function fileStampOf(path: string): Promise<string> {
  const { mtimeNs, ctimeNs, ino } = await stat(path, { bigint: true });
  const { type } = await statfs(path);
  const shared = sharedFileSystemOf(type);
  return `file ${ino} ${mtimeNs} ${ctimeNs}${shared === null ? '' : `${BLIND}a file on ${shared}`}`;
}

/** The name of a file system whose files other hosts may write, by statfs's number for it; null of any other. */
export function sharedFileSystemOf(type: number): string | null {
  return SHARED_FILE_SYSTEMS.get(type) ?? null;
}

/** Names this start of the kernel. */
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

/** Within which stamps can be compared: a boot, or always for files. */
export function eraOf(stamp: string): string {
  return stamp
    .split(' ')
    .slice(0, stamp.startsWith(`${SECTORS} `) ? 2 : 1)
    .join(' ');
}

/** Why a stamp may stand still although someone writes; null where it may not. */
export function blindnessIn(stamp: string): string | null {
  return stamp.split(BLIND)[1] ?? null;
}

/**
 * A stamp where it can also be the name of what the device holds: no other device ever has it, nor this one after a
 * write. Null on a kernel that does not tell two devices of one number apart (before 5.15), and of a device whose writes
 * are not all seen. Throws DeviceError.
 */
export async function stillnessOf(number: DeviceNumber): Promise<string | null> {
  if ((await sequenceOf(number)) === null) return null;
  const stamp = await writeStampOf(number);
  return blindnessIn(stamp) === null ? stamp : null;
}

/** What a stamp counts, by what it is of: of each device, or of the one file. */
function countsIn(stamp: string): Map<string, string> {
  const [known = ''] = (stamp.split(BLIND)[0] ?? '').split(LAID_OVER);
  if (!known.startsWith(`${SECTORS} `)) return new Map([[eraOf(stamp), known]]);
  const counts = known.split(' ').slice(2).join(' ').split(' on ');
  return new Map(counts.map((each) => [each.replace(/ [^ ]*$/, ''), each]));
}

async function countWrites(number: DeviceNumber): Promise<string> {
  return `${number} ${(await sequenceOf(number)) ?? '-'} ${await readWrittenSectors(number)}`;
}

/** Why the counts of devices may stand still although someone writes; null where they may not. */
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

/** Another number for each device that ever was, since the kernel started: the count begins anew with each. */
export function sequenceOf(number: DeviceNumber): Promise<string | null> {
  return readAttribute(`/sys/dev/block/${number}/diskseq`);
}
