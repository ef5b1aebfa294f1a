import type { DeviceNumber } from '../device/device-facts.js';
import { CommandError, UnsafeTargetError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import type { Surroundings } from '../host/surroundings.js';
import { DeviceMapper, type DmTarget } from '../lvm/device-mapper.js';
import { holdersOf, isDeviceNumber } from '../lvm/device-node.js';
import { isMerging, MERGE_COLUMNS, findDevice } from '../lvm/lvs.js';
import { devicesBelow, readAttribute } from '../usage/device-tree.js';
import { judgePool, judgeStore, type ExpectedWrites } from './room-needed.js';

/** The target whose space is checked. */
export interface RoomTarget {
  readonly path: string;
  /** Null: an image file, for which nothing is checked. */
  readonly number: DeviceNumber | null;
}

/**
 * Makes sure that what is below a target has enough space for a stream in the worst case: the stores of the target's
 * own snapshots, which keep what is overwritten, and the pool of a thin volume. If either fills up, data is lost. Also
 * refuses a target into which a snapshot is being merged, or will be.
 *
 * Throws UnsafeTargetError, which says what is short of space, by how much, and how to extend it; CommandError if
 * device-mapper or LVM gives no answer. A user without permission to ask them may write a target without snapshots or a
 * pool below it, as far as sysfs shows. A notice then says that nothing else was checked.
 */
export async function guardRoom(
  { path, number }: RoomTarget,
  expected: ExpectedWrites,
  { spawner, notice }: Pick<Surroundings, 'spawner' | 'notice'>,
): Promise<void> {
  if (number === null) return;
  try {
    await new RoomCheck(path, expected, spawner).visit(number);
  } catch (error) {
    if (!(error instanceof CommandError && error.mayNotAsk)) throw error;
    if (await hasLayersBelow(number)) {
      throw new UnsafeTargetError(
        path,
        'it has snapshots or is in a thin pool, and lvmsync has no permission to ask LVM and device-mapper ' +
          'whether they have enough space, and whether a snapshot will be merged into it: run lvmsync as root there (--sudo)',
      );
    }
    notice(
      `${path}: without permission to ask LVM and device-mapper, lvmsync did not check for snapshots that will be merged ` +
        `into it or are short of space: it does so as root (--sudo)`,
    );
  }
}

/** Whether there are LVM snapshots or a thin pool below a target: every user can see that in sysfs. */
async function hasLayersBelow(number: DeviceNumber): Promise<boolean> {
  const uuid = await readAttribute(`/sys/dev/block/${number}/dm/uuid`);
  if (uuid !== null && /^LVM-\w+-(real|cow|tpool)$/.test(uuid)) return true;
  for (const each of await devicesBelow(number)) if (await hasLayersBelow(each)) return true;
  return false;
}

/** Follows a write down the stack of devices. */
class RoomCheck {
  private readonly seen = new Set<DeviceNumber>();
  private readonly mapper: DeviceMapper;

  constructor(
    private readonly path: string,
    private readonly expected: ExpectedWrites,
    private readonly spawner: Spawner,
  ) {
    this.mapper = new DeviceMapper(spawner);
  }

  async visit(number: DeviceNumber): Promise<void> {
    if (this.seen.has(number)) return;
    this.seen.add(number);
    const table = (await isMapped(number)) ? await this.mapper.table(number) : [];
    for (const target of table) {
      if (target.type === 'snapshot-merge') {
        this.refuse('a snapshot is being merged into it: wait until the merge is done');
      } else if (target.type === 'snapshot-origin') {
        await this.refuseBeforeMerge(number);
        await this.checkSnapshots(target);
      } else if (target.type === 'snapshot') await this.checkOwnStore(number, target);
      else if (target.type === 'thin') {
        await this.refuseBeforeMerge(number);
        await this.checkPool(target);
      }
    }
    // A write to a snapshot does not write its origin, and the metadata of a pool has been checked.
    if (table.some(({ type }) => type === 'snapshot' || type === 'thin')) return;
    for (const each of await devicesBelow(number)) await this.visit(each);
  }

  /** A merge that LVM has postponed would overwrite everything that is written before it begins. */
  private async refuseBeforeMerge(number: DeviceNumber): Promise<void> {
    const { uuid, name } = await this.mapper.info(number);
    // The UUIDs of LVM's hidden devices end with the name of a layer. The volume itself was checked before.
    if (!/^LVM-\w+$/.test(uuid)) return;
    const volume = await findDevice(this.spawner, ['lv_full_name', ...MERGE_COLUMNS], name);
    if (!isMerging(volume)) return;
    const begin = `lvchange --refresh --poll y ${volume.lv_full_name}`;
    this.refuse(
      `a snapshot will be merged into it, over what is written until then: start the merge (${begin}), and wait until it is done`,
    );
  }

  /** A write to an origin first copies the old bytes into the store of each of its snapshots. */
  private async checkSnapshots({ words: [real] }: DmTarget): Promise<void> {
    if (!isDeviceNumber(real)) return;
    for (const holder of await holdersOf(real)) {
      const [target] = await this.mapper.table(holder);
      if (target?.type !== 'snapshot' || target.words[0] !== real) continue;
      const [status] = await this.mapper.status(holder);
      // An invalid snapshot has nothing left to lose.
      if (status?.words[0] === 'Invalid') continue;
      const { name } = await this.mapper.info(holder);
      this.refuse(judgeStore(name, target, status, this.expected), 'its snapshot');
    }
  }

  private async checkOwnStore(number: DeviceNumber, target: DmTarget): Promise<void> {
    const [status] = await this.mapper.status(number);
    const { name } = await this.mapper.info(number);
    this.refuse(judgeStore(name, target, status, this.expected), 'it is a snapshot, and the store of');
  }

  private async checkPool({ words: [pool] }: DmTarget): Promise<void> {
    if (!isDeviceNumber(pool) || this.seen.has(pool)) return;
    this.seen.add(pool);
    const [target] = await this.mapper.table(pool);
    const [status] = await this.mapper.status(pool);
    const { name } = await this.mapper.info(pool);
    this.refuse(judgePool(name, target, status, this.expected), 'its thin pool');
    const data = target?.words[1];
    if (isDeviceNumber(data)) await this.visit(data);
  }

  private refuse(problem: string | null, role = ''): void {
    if (problem !== null) throw new UnsafeTargetError(this.path, `${role} ${problem}`.trim());
  }
}

async function isMapped(number: DeviceNumber): Promise<boolean> {
  return (await readAttribute(`/sys/dev/block/${number}/dm/name`)) !== null;
}
