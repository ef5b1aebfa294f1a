import { SECTOR } from '../bytes/extent.js';
import { readDeviceFacts, type DeviceNumber } from '../device/device-facts.js';
import { SnapshotError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper, type DmTarget } from '../lvm/device-mapper.js';
import { findNode, isDeviceNumber } from '../lvm/device-node.js';
import { findDevice, findVolume, type LvsRow } from '../lvm/lvs.js';

/** What LVM knows about a thin volume. */
export interface ThinLvmFacts {
  /** `vg/lv`. */
  readonly fullName: string;
  readonly group: string;
  /** `vg/pool`. */
  readonly poolName: string;
  /** `vg/lv` of the volume that it is a snapshot of, or null. */
  readonly origin: string | null;
}

/** A thin volume or a snapshot of one: a device of a thin pool. Sizes in bytes. */
export interface ThinVolume {
  /** As the user named it. */
  readonly name: string;
  /** The device-mapper UUID that it has, or has when it is active; null if its creator gave none. */
  readonly uuid: string | null;
  /** Its number within the pool. */
  readonly deviceId: number;
  readonly size: number;
  /** The device and the pool's; null while it is inactive. */
  readonly active: { readonly number: DeviceNumber; readonly pool: DeviceNumber } | null;
  /**
   * The device whose bytes show where the volume maps nothing; null if zeroes do; 'some': a device that is not active.
   */
  readonly externalOrigin: DeviceNumber | 'some' | null;
  /** Null if LVM did not make it. */
  readonly lvm: ThinLvmFacts | null;
}

/**
 * Finds the thin volume that a user named, as `findSnapshot` finds classic ones; also an inactive one, if LVM knows
 * it: its mappings are in the pool's metadata. Null if it is something else, or does not exist.
 *
 * Throws SnapshotError if it is being merged, CommandError if device-mapper or LVM cannot be asked.
 */
export async function findThinVolume(spawner: Spawner, name: string): Promise<ThinVolume | null> {
  const number = await findNode(name);
  return number === null ? await findInactive(spawner, name) : await findActive(spawner, name, number);
}

async function findActive(spawner: Spawner, name: string, number: DeviceNumber): Promise<ThinVolume | null> {
  if (!(await readDeviceFacts(number)).kernelName.startsWith('dm-')) return null;
  const mapper = new DeviceMapper(spawner);
  const [target, ...rest] = await mapper.table(number);
  if (target?.type !== 'thin' || rest.length > 0) return null;
  const { pool, deviceId, externalOrigin } = parseThinTable(name, target);
  const { uuid, name: dmName } = await mapper.info(number);
  const row = uuid.startsWith('LVM-') ? await findDevice(spawner, COLUMNS, dmName) : null;
  return {
    ...{ name, deviceId, externalOrigin, active: { number, pool } },
    uuid: uuid === '' ? null : uuid,
    size: target.sectors * SECTOR,
    lvm: row === null ? null : lvmFactsOf(name, row),
  };
}

function parseThinTable(name: string, { words }: DmTarget) {
  const [pool, id, external] = words;
  if (!isDeviceNumber(pool) || id === undefined || !/^\d+$/.test(id)) {
    throw new SnapshotError(name, `unexpected thin table: ${words.join(' ')}`);
  }
  return { pool, deviceId: Number(id), externalOrigin: isDeviceNumber(external) ? external : null };
}

async function findInactive(spawner: Spawner, name: string): Promise<ThinVolume | null> {
  const row = await findVolume(spawner, COLUMNS, name);
  if (row === null || row.thin_id === '' || row.lv_active !== '') return null;
  const lvm = lvmFactsOf(name, row);
  return {
    ...{ name, lvm, deviceId: Number(row.thin_id), size: Number(row.lv_size), active: null },
    uuid: `LVM-${(row.vg_uuid + row.lv_uuid).replaceAll('-', '')}`,
    externalOrigin: (await hasExternalOrigin(spawner, row)) ? 'some' : null,
  };
}

const COLUMNS = [
  ...(['lv_full_name', 'vg_name', 'vg_uuid', 'lv_uuid', 'lv_active', 'lv_merging', 'lv_size'] as const),
  ...(['pool_lv', 'thin_id', 'origin', 'lv_ancestors'] as const),
] as const;
type ThinRow = LvsRow<(typeof COLUMNS)[number]>;

function lvmFactsOf(name: string, row: ThinRow): ThinLvmFacts {
  if (row.lv_merging !== '') {
    throw new SnapshotError(name, 'a snapshot is being merged into its origin: wait until the merge is done');
  }
  const group = row.vg_name;
  return {
    fullName: row.lv_full_name,
    group,
    poolName: `${group}/${row.pool_lv}`,
    origin: row.origin === '' ? null : `${group}/${row.origin}`,
  };
}

/** Its oldest ancestor is an external origin if it is not a volume of the same pool. */
async function hasExternalOrigin(spawner: Spawner, row: ThinRow): Promise<boolean> {
  const oldest = row.lv_ancestors.split(',').at(-1) ?? '';
  if (oldest === '') return false;
  const found = await findVolume(spawner, COLUMNS, `${row.vg_name}/${oldest}`);
  return found?.pool_lv !== row.pool_lv;
}
