import { run, tryToRun } from '../test/kernel/support/run.js';
import { readDevice, writeDevice } from './direct-access.js';
import { patternedChunk } from './pattern.js';

/** What every case starts from. */
export interface StagePlan {
  readonly chunkSize: number;
  readonly volumeSize: number;
  /** The store's size in bytes. */
  readonly storeSize: number;
}

/** The nodes of a volume, its snapshot and the snapshot's store, while all three are active. */
export interface Nodes {
  readonly volume: string;
  readonly snapshot: string;
  readonly store: string;
  /** The snapshot's device-mapper name. */
  readonly mapperName: string;
}

/** A volume with a snapshot of it, ready to be changed. */
export class Stage {
  /** The chunks that were written since the snapshot, in the order of first writing: the table's content. */
  readonly written = new Set<number>();

  constructor(
    readonly plan: StagePlan,
    readonly nodes: Nodes,
    /** The volume's bytes when the snapshot was made. */
    readonly base: Buffer,
  ) {}

  /** Writes whole chunks of the volume, one by one in this order. */
  async change(chunks: readonly number[], generation = 1): Promise<void> {
    await this.write(this.nodes.volume, chunks, generation);
  }

  /** Writes whole chunks of the snapshot. */
  async changeSnapshot(chunks: readonly number[], generation = 1): Promise<void> {
    await this.write(this.nodes.snapshot, chunks, generation);
  }

  /** Writes a volume's chunks again, with the bytes that they hold already. */
  async rewrite(chunks: readonly number[]): Promise<void> {
    const { chunkSize } = this.plan;
    const pieces = chunks.map((chunk) => ({
      offset: chunk * chunkSize,
      bytes: this.base.subarray(chunk * chunkSize, (chunk + 1) * chunkSize),
    }));
    await writeDevice(this.nodes.volume, pieces);
    for (const chunk of chunks) this.written.add(chunk);
  }

  private async write(device: string, chunks: readonly number[], generation: number): Promise<void> {
    const { chunkSize, volumeSize } = this.plan;
    const pieces = chunks.map((chunk) => patternedChunk(generation, chunk, chunkSize, volumeSize));
    await writeDevice(device, pieces);
    for (const chunk of chunks) this.written.add(chunk);
  }
}

/** Fills a volume before its snapshot is made, every fifth chunk left zero, and returns its bytes. */
export async function fillVolume(device: string, { chunkSize, volumeSize }: StagePlan): Promise<Buffer> {
  const bytes = Buffer.alloc(volumeSize);
  for (let chunk = 0; chunk * chunkSize < volumeSize; chunk += 1) {
    if (chunk % 5 === 3) continue;
    const piece = patternedChunk(0, chunk, chunkSize, volumeSize);
    piece.bytes.copy(bytes, piece.offset);
  }
  await writeDevice(device, [{ offset: 0, bytes }]);
  return readDevice(device);
}

/** Makes both disks read as zeroes, so that no case sees another's bytes. */
export async function wipeDisks(): Promise<void> {
  for (const disk of ['/dev/ubda', '/dev/ubdb']) await run(['blkdiscard', '-f', disk]);
}

export interface LvmNames {
  readonly group: string;
  readonly volume: string;
  readonly snapshot: string;
}

/** LVM's own snapshot of an LVM volume. `prepare` fills the volume before the snapshot is made. */
export async function stageOnLvm(
  plan: StagePlan,
  names: LvmNames = { group: 'vg', volume: 'origin', snapshot: 'snap' },
  prepare: (device: string, plan: StagePlan) => Promise<Buffer> = fillVolume,
): Promise<Stage> {
  const { group, volume } = names;
  await run(['vgcreate', '-qq', '-ff', '-y', '-s', '4k', group, '/dev/ubda']);
  await run(['lvcreate', '-qq', '-y', '-Wn', '-Zn', '-n', volume, '-L', `${plan.volumeSize}b`, group]);
  const base = await prepare(`/dev/${group}/${volume}`, plan);
  return new Stage(plan, await snapshotOnLvm(plan, names), base);
}

/** Makes LVM's snapshot and tells the nodes. */
export async function snapshotOnLvm(
  { chunkSize, storeSize }: StagePlan,
  { group, volume, snapshot }: LvmNames,
): Promise<Nodes> {
  const wish = ['-c', `${chunkSize}b`, '-L', `${storeSize}b`];
  await run(['lvcreate', '-qq', '-y', '-s', '-n', snapshot, ...wish, `${group}/${volume}`]);
  const mapperName = [group, snapshot].map((part) => part.replaceAll('-', '--')).join('-');
  return {
    volume: `/dev/${group}/${volume}`,
    snapshot: `/dev/${group}/${snapshot}`,
    store: `/dev/mapper/${mapperName}-cow`,
    mapperName,
  };
}

/** A snapshot by dmsetup alone, in a mode that LVM does not use: PO (overflow told apart) or N (transient). */
export async function stageByHand(plan: StagePlan, mode: 'P' | 'PO' | 'N' = 'P'): Promise<Stage> {
  const sectors = plan.volumeSize / 512;
  await createMapping('real', `0 ${sectors} linear /dev/ubda 0`);
  await createMapping('store', `0 ${plan.storeSize / 512} linear /dev/ubdb 0`);
  const base = await fillVolume('/dev/mapper/real', plan);
  // the snapshot before the origin, or a write across chunks makes one exception only
  const parts = `/dev/mapper/real /dev/mapper/store ${mode} ${plan.chunkSize / 512}`;
  await createMapping('snap', `0 ${sectors} snapshot ${parts}`);
  await createMapping('volume', `0 ${sectors} snapshot-origin /dev/mapper/real`);
  const node = (name: string): string => `/dev/mapper/${name}`;
  const nodes = { volume: node('volume'), snapshot: node('snap'), store: node('store'), mapperName: 'snap' };
  return new Stage(plan, nodes, base);
}

export async function createMapping(name: string, table: string): Promise<void> {
  await run(['dmsetup', 'create', name, '--table', table]);
}

/** Takes down whatever a case left standing. */
export async function strike(): Promise<void> {
  const groups = (await run(['vgs', '--noheadings', '-o', 'vg_name'])).trim();
  if (groups !== '') await run(['vgremove', '-qq', '-ff', '-y', ...groups.split(/\s+/)]);
  for (const name of ['merge', 'volume', 'snap', 'store', 'real']) {
    await tryToRun(['dmsetup', 'remove', name]);
  }
}
