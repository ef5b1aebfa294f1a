import { run } from '../test/kernel/support/run.js';
import type { Case } from './case.js';
import { readDevice, writeDevice } from './direct-access.js';
import { patternedChunk, shuffled } from './pattern.js';
import { snapshotOnLvm, Stage, stageOnLvm, type StagePlan } from './stage.js';

const KIB = 1024;
const MIB = 1024 * KIB;

const range = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);

/** A case that is a snapshot by LVM with the usual names, changed in some way. */
function lvmCase(name: string, what: string, plan: StagePlan, change: (stage: Stage) => Promise<void>): Case {
  return {
    name,
    what,
    perform: async () => {
      const stage = await stageOnLvm(plan);
      await change(stage);
      return { stage };
    },
  };
}

const everyChunkSize = [4, 8, 16, 32, 64, 128, 256, 512].map((kibibytes) => {
  const chunkSize = kibibytes * KIB;
  const last = (8 * MIB) / chunkSize - 1;
  const plan = { chunkSize, volumeSize: 8 * MIB, storeSize: 12 * chunkSize + 2 * MIB };
  return lvmCase(
    `chunk-${kibibytes}k`,
    `chunks of ${kibibytes} KiB: the last chunk written, then a run of three, then the first`,
    plan,
    (stage) => stage.change([last, 5, 6, 7, 0]),
  );
});

/** An area holds a sixteenth of a chunk's bytes in exceptions. */
const aroundFullAreas = [4, 8, 16].flatMap((kibibytes) => {
  const chunkSize = kibibytes * KIB;
  const full = chunkSize / 16;
  const volumeSize = (full + 8) * chunkSize;
  const plan = { chunkSize, volumeSize, storeSize: volumeSize + 4 * chunkSize };
  return (
    [
      ['under', full - 1],
      ['full', full],
      ['over', full + 1],
    ] as const
  ).map(([word, count]) =>
    lvmCase(
      `area-${kibibytes}k-${word}`,
      `${count} exceptions where an area holds ${full}, written in ascending order`,
      plan,
      (stage) => stage.change(range(3, count)),
    ),
  );
});

const small: StagePlan = { chunkSize: 4 * KIB, volumeSize: 4 * MIB, storeSize: 2 * MIB };
const large: StagePlan = { chunkSize: 4 * KIB, volumeSize: 8 * MIB, storeSize: 9 * MIB };

const others: Case[] = [
  lvmCase('untouched', 'a snapshot of a volume that nobody wrote since', small, () => Promise.resolve()),
  lvmCase('many-areas', '1,400 exceptions over six areas, in descending order', large, (stage) =>
    stage.change(range(100, 1400).reverse()),
  ),
  lvmCase('random-order', '700 chunks, written in a shuffled order', large, (stage) =>
    stage.change(shuffled(range(0, 2048), 7).slice(0, 700)),
  ),
  lvmCase(
    'partial-last-chunk',
    'a volume of 4 MiB and 12 KiB with chunks of 64 KiB, its last, partial chunk written',
    { chunkSize: 64 * KIB, volumeSize: 4 * MIB + 12 * KIB, storeSize: 2 * MIB },
    (stage) => stage.change([2, 64, 1]),
  ),
  lvmCase(
    'snapshot-written',
    'chunks 10 to 14 of the volume written, then chunks 12 to 17 of the snapshot itself',
    small,
    async (stage) => {
      await stage.change(range(10, 5));
      await stage.changeSnapshot(range(12, 6), 2);
    },
  ),
  lvmCase('rewritten-equal', 'chunks 20 to 29 rewritten with the bytes they held', small, (stage) =>
    stage.rewrite(range(20, 10)),
  ),
  lvmCase('rewritten-twice', 'chunks 40 to 49 written twice: one exception each', small, async (stage) => {
    await stage.change(range(40, 10), 1);
    await stage.change(range(40, 10), 2);
  }),
  lvmCase('zeroed', 'chunks 100 to 199 zeroed by blkdiscard -z, chunk 300 written', small, async (stage) => {
    const where = ['-o', `${100 * 4 * KIB}`, '-l', `${100 * 4 * KIB}`];
    await run(['blkdiscard', '-z', ...where, stage.nodes.volume]);
    for (const chunk of range(100, 100)) stage.written.add(chunk);
    await stage.change([300]);
  }),
  {
    name: 'overflowed',
    what: 'a store of 1 MiB that 400 written chunks of 4 KiB filled up',
    perform: async () => {
      const stage = await stageOnLvm({ ...small, storeSize: MIB });
      await stage.change(range(0, 400));
      return { stage, verdict: 'invalid', tableChunks: null };
    },
  },
  {
    name: 'odd-names',
    what: 'volume group my-vg.0, volume lv-a.b+c, snapshot snap-1.2+3',
    perform: async () => {
      const stage = await stageOnLvm(small, { group: 'my-vg.0', volume: 'lv-a.b+c', snapshot: 'snap-1.2+3' });
      await stage.change([1, 2, 3, 1023]);
      return { stage };
    },
  },
  {
    name: 'origin-grown',
    what: 'a volume of 4 MiB that grew to 5 MiB after its snapshot, written on both sides of the old end',
    perform: async () => {
      const stage = await stageOnLvm(small);
      await run(['lvchange', '-an', 'vg/origin']);
      await run(['lvextend', '-qq', '-L', '5M', 'vg/origin']);
      await run(['lvchange', '-ay', 'vg/origin']);
      await stage.change([7, 1023]);
      const beyond = [1024, 1030].map((chunk) => patternedChunk(1, chunk, small.chunkSize, 5 * MIB));
      await writeDevice(stage.nodes.volume, beyond);
      return { stage };
    },
  },
];

/** LVM gives a new snapshot the extents that an earlier one freed: their old bytes lie past the new table's end. */
const onUsedExtents = [
  { word: 'same', earlierChunk: 4 * KIB, count: 1000 },
  { word: 'other', earlierChunk: 16 * KIB, count: 300 },
].map(({ word, earlierChunk, count }) => ({
  name: `stale-tables-${word}-chunk`,
  what: `6 exceptions where an earlier snapshot, of ${earlierChunk / KIB} KiB chunks, left ${count}`,
  perform: async () => {
    const volumeSize = (count + 100) * earlierChunk;
    const storeSize = volumeSize + MIB;
    const earlier = { group: 'vg', volume: 'origin', snapshot: 'earlier' };
    const first = await stageOnLvm({ chunkSize: earlierChunk, volumeSize, storeSize }, earlier);
    await first.change(range(0, count));
    await run(['lvremove', '-qq', '-y', 'vg/earlier']);
    const plan = { chunkSize: 4 * KIB, volumeSize, storeSize };
    const base = await readDevice('/dev/vg/origin');
    const stage = new Stage(plan, await snapshotOnLvm(plan, { ...earlier, snapshot: 'snap' }), base);
    await stage.change([9, 8, 500, 501, 0, 700], 2);
    return { stage };
  },
}));

export const LVM_CASES: readonly Case[] = [
  ...everyChunkSize,
  ...aroundFullAreas,
  ...others,
  ...onUsedExtents,
];
