import { stat } from 'node:fs/promises';
import * as v from 'valibot';
import type { DeviceNumber } from '../device/device-facts.js';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { diskOf, readAttribute } from './device-tree.js';
import { readBootId, sequenceOf, LVM_UUID } from './write-stamp.js';

export const identitySchema = v.object({
  /** The boot in which the identity was read. */
  boot: v.string(),
  /** A lasting identifier; null: it has none. */
  lasting: v.nullable(v.string()),
  /** Of a file, when it was created, because inodes are reused. */
  birth: v.exactOptional(v.string()),
  /** An identifier that is valid within that boot; null: it has none, or it may change. */
  passing: v.nullable(v.string()),
});

/**
 * Identifies a target, whatever its path: a device-mapper device by its UUID, a disk by its WWN or serial number, or
 * else by its sequence number, which is valid for one boot; a file by its inode and time of creation.
 */
export type DeviceIdentity = Readonly<v.InferOutput<typeof identitySchema>>;

/** Reads the identity of a target. Throws what stat throws. */
export async function identityOf(path: string, number: DeviceNumber | null): Promise<DeviceIdentity> {
  const boot = await readBootId();
  if (number === null) return { boot, ...(await identityOfFile(path)) };
  const uuid = await readAttribute(`/sys/dev/block/${number}/dm/uuid`);
  if (uuid !== null && uuid !== '') return { boot, lasting: `dm ${uuid}`, passing: null };
  const disk = (await diskOf(number))?.number ?? number;
  const part = disk === number ? '' : ` part ${await readAttribute(`/sys/dev/block/${number}/start`)}`;
  const wwid = await wwidOf(disk);
  if (wwid !== null) return { boot, lasting: `wwid ${wwid}${part}`, passing: null };
  const sequence = await sequenceOf(disk);
  return { boot, lasting: null, passing: sequence === null ? null : `diskseq ${sequence}${part}` };
}

/** Whether two identities belong to the same device. */
export function isSameDevice(before: DeviceIdentity, now: DeviceIdentity): 'yes' | 'no' | 'unknown' {
  const isSameBoot = before.boot === now.boot;
  if (isSameBoot && before.passing !== null && now.passing !== null && before.passing !== now.passing)
    return 'no';
  if (before.lasting !== null && now.lasting !== null) {
    const isSameBirth = before.birth === undefined || now.birth === undefined || before.birth === now.birth;
    return before.lasting === now.lasting && isSameBirth ? 'yes' : 'no';
  }
  return isSameBoot && before.passing !== null && before.passing === now.passing ? 'yes' : 'unknown';
}

/** An identity in words, for messages. */
export function describeIdentity({ lasting, birth, passing }: DeviceIdentity): string {
  const born = birth === undefined ? '' : ` created at ${new Date(Number(birth) / 1e6).toISOString()}`;
  return `${lasting ?? passing ?? 'a device without an identifier of its own'}${born}`;
}

async function identityOfFile(path: string): Promise<Omit<DeviceIdentity, 'boot'>> {
  const { dev, ino, birthtimeNs, ctimeNs } = await stat(path, { bigint: true });
  // A file system without creation times reports none, or a time that changes with each write.
  const isBorn = birthtimeNs > 0n && birthtimeNs !== ctimeNs;
  const birth = isBorn ? { birth: birthtimeNs.toString() } : {};
  return { lasting: `inode ${ino}`, ...birth, passing: `file system ${dev}` };
}

async function wwidOf(disk: DeviceNumber): Promise<string | null> {
  for (const name of ['wwid', 'device/wwid', 'serial', 'device/serial']) {
    const found = (await readAttribute(`/sys/dev/block/${disk}/${name}`))?.trim() ?? '';
    if (found !== '') return found;
  }
  return null;
}

/** One target of a volume's table, as `start sectors type …`. */
export type Mapping = readonly string[];

/** Where the bytes of an LVM volume are, by its table; null: not an LVM volume, or device-mapper cannot be asked. */
export async function mappingOf(spawner: Spawner, number: DeviceNumber): Promise<Mapping | null> {
  const uuid = await readAttribute(`/sys/dev/block/${number}/dm/uuid`);
  if (uuid?.startsWith(LVM_UUID) !== true) return null;
  try {
    const targets = await new DeviceMapper(spawner).table(number);
    return targets.map(({ startSector, sectors, type, words }) =>
      [startSector, sectors, type, ...words].join(' '),
    );
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}

/** Whether all bytes are where they were, in a volume that may have grown. */
export function isGrownFrom(before: Mapping, now: Mapping): boolean {
  return before.every((was, index) => {
    const is = now[index] ?? '';
    if (was === is) return true;
    const [start, sectors, ...where] = was.split(' ');
    const [startNow, sectorsNow, ...whereNow] = is.split(' ');
    const isLast = index === before.length - 1;
    const isThere = start === startNow && where.join(' ') === whereNow.join(' ');
    return isLast && isThere && Number(sectorsNow) >= Number(sectors);
  });
}
