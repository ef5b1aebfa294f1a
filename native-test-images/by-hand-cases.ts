import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../test/kernel/support/run.js';
import type { Case, Ending } from './case.js';
import { shuffled } from './pattern.js';
import { createMapping, stageByHand, type Stage, type StagePlan } from './stage.js';

const KIB = 1024;
const MIB = 1024 * KIB;

const plan: StagePlan = { chunkSize: 4 * KIB, volumeSize: 4 * MIB, storeSize: 2 * MIB };

const range = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);

/** Stores that LVM would not make, or not show at this moment: made with dmsetup. */
export const BY_HAND_CASES: readonly Case[] = [
  ...[1, 2].map((kibibytes): Case => ({
    name: `chunk-${kibibytes}k`,
    what: `chunks of ${kibibytes} KiB, smaller than LVM makes: 200 of them written in a shuffled order`,
    perform: async () => {
      const stage = await stageByHand({ ...plan, chunkSize: kibibytes * KIB });
      await stage.change(shuffled(range(0, 1000), 3).slice(0, 200));
      return { stage };
    },
  })),
  {
    name: 'odd-sectors',
    what: 'a volume of 4 MiB and three sectors with chunks of 16 KiB, its last, partial chunk written',
    perform: async () => {
      const stage = await stageByHand({ ...plan, chunkSize: 16 * KIB, volumeSize: 4 * MIB + 3 * 512 });
      await stage.change([256, 0, 17]);
      return { stage };
    },
  },
  {
    name: 'transient',
    what: 'a transient store (N): chunk 0 is data, there is neither header nor table',
    perform: async () => {
      const stage = await stageByHand(plan, 'N');
      await stage.change([5, 6, 7]);
      return { stage, verdict: 'not a store', tableChunks: null };
    },
  },
  {
    name: 'overflowed-by-snapshot-write',
    what: 'mode P, a store of 256 KiB filled up by writes to the snapshot',
    perform: async () => {
      const stage = await stageByHand({ ...plan, storeSize: 256 * KIB });
      await writeSnapshotUntilFull(stage);
      return { stage, verdict: 'invalid', tableChunks: null };
    },
  },
  {
    name: 'overflowed-po',
    what: 'mode PO, a store of 256 KiB filled up by writes to the snapshot: Overflow, yet the table is whole',
    perform: async () => {
      const stage = await stageByHand({ ...plan, storeSize: 256 * KIB }, 'PO');
      await stage.change([700, 701]);
      await writeSnapshotUntilFull(stage);
      return { stage, exceptions: stage.written.size };
    },
  },
  {
    name: 'half-merged',
    what: '120 single chunks written in a shuffled order, then about half of them merged back',
    perform: async () => merge(await stageToMerge(), (left) => left <= 60),
  },
  {
    name: 'merged',
    what: '120 single chunks written in a shuffled order, then all of them merged back',
    perform: async () => merge(await stageToMerge(), (left) => left === 0),
  },
];

/** Writes chunk after chunk of the snapshot until the kernel refuses one for want of room. */
async function writeSnapshotUntilFull(stage: Stage): Promise<void> {
  for (let chunk = 100; ; chunk += 1) {
    try {
      await stage.changeSnapshot([chunk], 2);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EIO') return;
      throw error;
    }
  }
}

async function stageToMerge(): Promise<Stage> {
  const stage = await stageByHand(plan);
  await stage.change(shuffled(range(0, 1000), 11).slice(0, 120));
  return stage;
}

/** Lets the kernel merge the snapshot back, on a slowed disk, until so many exceptions are left. */
async function merge(stage: Stage, enough: (left: number) => boolean): Promise<Ending> {
  const { chunkSize, volumeSize } = stage.plan;
  await run(['dmsetup', 'remove', 'volume']);
  await run(['dmsetup', 'remove', 'snap']);
  const sectors = volumeSize / 512;
  await run(['dmsetup', 'load', 'real', '--table', `0 ${sectors} delay /dev/ubda 0 10`]);
  await run(['dmsetup', 'resume', 'real']);
  const parts = `/dev/mapper/real /dev/mapper/store P ${chunkSize / 512}`;
  await createMapping('merge', `0 ${sectors} snapshot-merge ${parts}`);
  let left = Infinity;
  while (!enough(left)) {
    await sleep(50);
    left = exceptionsIn(await statusWords('merge'), chunkSize);
  }
  // a suspended merge stands still, so that its figures are those of the bytes on disk
  await run(['dmsetup', 'suspend', 'merge']);
  const status = await statusWords('merge');
  await run(['dmsetup', 'remove', 'merge']);
  return { stage, status, tableChunks: 'as changed', volume: '/dev/mapper/real' };
}

export async function statusWords(mapperName: string): Promise<string> {
  return (await run(['dmsetup', 'status', mapperName])).trim().split(' ').slice(3).join(' ');
}

/** The exceptions in a status of the form `allocated/total metadata`, in sectors; NaN in any other. */
export function exceptionsIn(status: string, chunkSize: number): number {
  const [, allocated, metadata] = /^(\d+)\/\d+ (\d+)$/.exec(status) ?? [];
  return (Number(allocated) - Number(metadata)) / (chunkSize / 512);
}
