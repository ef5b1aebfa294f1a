import { SECTOR } from '../bytes/extent.js';
import { readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { NoSnapshotError, SnapshotError, CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper, type DmTarget } from '../lvm/device-mapper.js';
import { findDeviceNumber, holdersOf, isDeviceNumber } from '../lvm/device-node.js';
import { findLogicalVolume, findVolume } from '../lvm/lvs.js';

const WAY_OUT =
  'make a new snapshot; "lvmsync --scan" of that one sends only what differs, which is less than a full copy';

/** A classic (dm-snapshot) snapshot and the devices behind it. Sizes in bytes. */
export interface DmSnapshot {
  /** As the user named it. */
  readonly name: string;
  /** Its device-mapper UUID, which identifies the state that it froze; null if its creator gave none. */
  readonly uuid: string | null;
  readonly number: DeviceNumber;
  /** The volume's size when the snapshot was made. */
  readonly size: number;
  /** The device that users write to, whose changes the snapshot tracks. */
  readonly origin: DeviceNumber;
  readonly originName: string;
  /** The device with the exception store. */
  readonly cow: DeviceNumber;
}

/**
 * Finds the snapshot that a user named: `/dev/vg/lv`, `/dev/mapper/…`, any other node or link to it, or `vg/lv`.
 *
 * Throws, each case with its own message, NoSnapshotError if it is not a snapshot or is inactive; SnapshotError if it
 * is merging, has no table on disk, or hides changes; CommandError if device-mapper or LVM cannot be asked.
 */
export async function findSnapshot(spawner: Spawner, name: string): Promise<DmSnapshot> {
  const mapper = new DeviceMapper(spawner);
  const number = await findDeviceNumber(spawner, name);
  const [target, ...rest] = await tableOf(mapper, name, number);
  if (target === undefined || rest.length > 0 || target.type !== 'snapshot') {
    throw await whyNoSnapshot(spawner, name, target);
  }
  const [real, cow, type] = target.words;
  if (!isDeviceNumber(real) || !isDeviceNumber(cow)) {
    throw new SnapshotError(name, `unexpected snapshot table: ${target.words.join(' ')}`);
  }
  if (type?.startsWith('N') === true) {
    throw new SnapshotError(
      name,
      'a transient snapshot: its store has no table on disk to read changes from',
    );
  }
  const origin = await findOrigin(mapper, name, real);
  const { uuid } = await mapper.info(number);
  return {
    name,
    uuid: uuid === '' ? null : uuid,
    number,
    size: target.sectors * SECTOR,
    origin,
    originName: (await mapper.info(origin)).name,
    cow,
  };
}

/** Throws SnapshotError unless the kernel says, now, that the snapshot's store has every change. */
export async function checkSnapshotStatus(spawner: Spawner, snapshot: DmSnapshot): Promise<void> {
  const [target] = await new DeviceMapper(spawner).status(snapshot.number);
  const words = target?.words.join(' ') ?? '';
  if (target?.type === 'snapshot' && /^\d+\/\d+ \d+$/.test(words)) return;
  const reasons: Record<string, string> = {
    Invalid: 'the snapshot is invalid: its store filled up and no longer has every change',
    Overflow: 'the snapshot has overflowed: its store is full, the next change will be lost',
    'Merge failed': 'merging the snapshot into its origin failed',
  };
  const reason = reasons[words] ?? `the kernel reports its status as "${target?.type ?? 'nothing'} ${words}"`;
  throw new SnapshotError(snapshot.name, `${reason}; ${WAY_OUT}`);
}

async function tableOf(mapper: DeviceMapper, name: string, number: DeviceNumber): Promise<DmTarget[]> {
  const { kernelName } = await readDeviceFacts(number);
  if (!kernelName.startsWith('dm-')) {
    throw new NoSnapshotError(name, `not a snapshot: ${kernelName} is not a device-mapper device`);
  }
  return await mapper.table(number);
}

/** The error for a device-mapper device that is not a plain snapshot. */
async function whyNoSnapshot(
  spawner: Spawner,
  name: string,
  target: DmTarget | undefined,
): Promise<SnapshotError> {
  switch (target?.type) {
    case undefined:
      return new NoSnapshotError(name, 'not a snapshot: its device-mapper table is empty');
    case 'snapshot-merge': {
      const problem = 'a snapshot is being merged into it, and its table shrinks meanwhile';
      return new SnapshotError(name, `${problem}; wait until the merge is done`);
    }
    case 'error': {
      const volume = await findLogicalVolume(spawner, name).catch(() => null);
      if (volume?.merging === true) {
        const problem = 'the snapshot is being merged into its origin: wait until the merge is done';
        return new SnapshotError(name, problem);
      }
      return new NoSnapshotError(name, 'not a snapshot: its device-mapper table only gives errors');
    }
    case 'snapshot-origin':
      return new NoSnapshotError(name, 'an origin, not a snapshot: give the name of its snapshot');
    default:
      return new NoSnapshotError(name, `not a snapshot: its device-mapper target is "${target?.type}"`);
  }
}

/**
 * Finds the device that writes pass through on their way to `real`: its table says snapshot-origin. Without it, writes
 * to the volume would leave no trace in the store.
 */
async function findOrigin(mapper: DeviceMapper, name: string, real: DeviceNumber): Promise<DeviceNumber> {
  let origin: DeviceNumber | null = null;
  for (const holder of await holdersOf(real)) {
    for (const target of await mapper.table(holder)) {
      if (target.words[0] !== real) continue;
      if (target.words.includes('discard_passdown_origin')) {
        throw new SnapshotError(
          name,
          'a snapshot of its origin has discard_passdown_origin, which hides changes',
        );
      }
      if (target.type === 'snapshot-merge') {
        throw new SnapshotError(
          name,
          'a snapshot is being merged into its origin: wait until the merge is done',
        );
      }
      if (target.type === 'snapshot-origin') origin = holder;
    }
  }
  if (origin === null) {
    throw new SnapshotError(
      name,
      `no device has a snapshot-origin table over ${real}: changes are not tracked`,
    );
  }
  return origin;
}

/**
 * When LVM made a snapshot, classic or thin: to the second, in milliseconds since 1970. Null if LVM did not make it,
 * or does not say.
 */
export async function readBirth(
  spawner: Spawner,
  { name, uuid }: Pick<DmSnapshot, 'name' | 'uuid'>,
): Promise<number | null> {
  if (uuid?.startsWith('LVM-') !== true) return null;
  try {
    const row = await findVolume(spawner, ['lv_time'], name);
    const seconds = Number(row?.lv_time);
    return seconds > 0 ? seconds * 1000 : null;
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}
