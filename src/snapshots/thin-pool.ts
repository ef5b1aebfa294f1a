import { SECTOR } from '../bytes/extent.js';
import { type DeviceNumber, readDeviceFacts } from '../device/device-facts.js';
import { SnapshotError, CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { isDeviceNumber } from '../lvm/device-node.js';

const METADATA_BLOCK = 4096;
const ROOT = /^(-|\d+)$/;

/** A thin pool, which holds the mappings of its volumes. */
export interface ThinPool {
  /** Its device-mapper name, such as `vg-pool-tpool`. */
  readonly dmName: string;
  /** Identifies it across runs: its UUID, or else its name. */
  readonly key: string;
  readonly number: DeviceNumber;
  /** The device with its metadata. */
  readonly metadata: DeviceNumber;
  /** Bytes. */
  readonly chunkSize: number;
}

/** What the kernel says about a pool that is in order. Bytes. */
export interface ThinPoolStatus {
  /** The root of the held metadata snapshot, even if it is not ours: a block of the metadata; null if there is no snapshot. */
  readonly heldRoot: number | null;
  readonly used: number;
  readonly size: number;
  readonly metadata: { readonly used: number; readonly size: number };
}

/** Finds the pool of a thin volume by its device. Throws SnapshotError, CommandError. */
export async function findThinPool(spawner: Spawner, number: DeviceNumber): Promise<ThinPool> {
  const mapper = new DeviceMapper(spawner);
  const { name: dmName, uuid } = await mapper.info(number);
  const [target] = await mapper.table(number);
  const [metadata, , chunkSectors] = target?.words ?? [];
  if (target?.type !== 'thin-pool' || !isDeviceNumber(metadata) || !/^\d+$/.test(chunkSectors ?? '')) {
    throw new SnapshotError(dmName, `unexpected thin-pool table: ${target?.words.join(' ') ?? 'none'}`);
  }
  const key = uuid === '' ? dmName : uuid;
  return { dmName, key, number, metadata, chunkSize: Number(chunkSectors) * SECTOR };
}

/**
 * Asks the kernel for a pool's status, now. Throws SnapshotError if its metadata is unreliable, or the device changed.
 */
export async function readPoolStatus(spawner: Spawner, pool: ThinPool): Promise<ThinPoolStatus> {
  const words = await readStatusWords(spawner, pool);
  if (words === null) throw notInOrder(pool, 'it is no longer a thin pool');
  const problem = findProblem(words);
  if (problem !== null) throw notInOrder(pool, problem);
  const [, metadata = '', data = '', root = ''] = words;
  return {
    heldRoot: parseRoot(root),
    ...readUsage(data, pool.chunkSize),
    metadata: readUsage(metadata, METADATA_BLOCK),
  };
}

/**
 * The root of the held metadata snapshot, also while the pool is full, read-only or in need of a check. Throws
 * SnapshotError if the kernel does not report it.
 */
export async function readHeldRoot(spawner: Spawner, pool: ThinPool): Promise<number | null> {
  const words = await readStatusWords(spawner, pool);
  const root = words?.[3] ?? '';
  if (!ROOT.test(root))
    throw notInOrder(pool, `the kernel reports its status as "${words?.join(' ') ?? ''}"`);
  return parseRoot(root);
}

/** Null if it is no longer a thin pool. */
async function readStatusWords(spawner: Spawner, pool: ThinPool): Promise<readonly string[] | null> {
  const [target] = await new DeviceMapper(spawner).status(pool.number);
  return target?.type === 'thin-pool' ? target.words : null;
}

function notInOrder({ dmName }: ThinPool, problem: string): SnapshotError {
  return new SnapshotError(dmName, `the thin pool is not in order: ${problem}`);
}

function parseRoot(word: string): number | null {
  return word === '-' ? null : Number(word);
}

/** `used/total`, in units. */
function readUsage(text: string, unit: number): { readonly used: number; readonly size: number } {
  const [used = NaN, size = NaN] = text.split('/').map((count) => Number(count) * unit);
  return { used, size };
}

/** transaction, used/total metadata, used/total data, held root, mode, …, needs_check or -, … */
function findProblem(words: readonly string[]): string | null {
  const text = words.join(' ');
  if (words[0] === 'Fail') return 'its metadata failed; see lvmthin(7) on how to repair it';
  if (words[0] === 'Error') return 'the kernel cannot report its status';
  if (words.includes('needs_check')) return 'its metadata needs a check; see lvmthin(7) on how to repair it';
  const [, , data, root, mode] = words;
  if (mode === 'out_of_data_space') return 'it is out of data space: extend it first (lvextend)';
  if (mode === 'ro') return 'it is read-only: see lvmthin(7) on why and on how to repair it';
  const isKnown = mode === 'rw' && /^\d+\/\d+$/.test(data ?? '') && ROOT.test(root ?? '');
  return isKnown ? null : `the kernel reports its status as "${text}"`;
}

/**
 * The unit in which a device can be discarded so that it reads as zeroes afterwards: a thin volume's chunk, in bytes.
 * Null for any other device; for a volume with an external origin, whose bytes would show; and for a pool that does
 * not zero what it provisions: there the next write into a discarded chunk would bring back old data of other volumes.
 * Also null if device-mapper cannot be asked.
 */
export async function findDiscardUnit(spawner: Spawner, number: DeviceNumber): Promise<number | null> {
  if (!(await readDeviceFacts(number)).kernelName.startsWith('dm-')) return null;
  try {
    const mapper = new DeviceMapper(spawner);
    const [thin, ...rest] = await mapper.table(number);
    const [pool, , externalOrigin] = thin?.words ?? [];
    if (thin?.type !== 'thin' || rest.length > 0 || externalOrigin !== undefined || !isDeviceNumber(pool))
      return null;
    const [, , chunkSectors, ...features] = (await mapper.table(pool))[0]?.words ?? [];
    return features.includes('skip_block_zeroing') ? null : Number(chunkSectors) * SECTOR || null;
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}
