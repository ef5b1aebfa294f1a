import { randomFillSync } from 'node:crypto';
import { race, workIn, type Bench } from './bench-run.js';
import { ChangedVolume, halfChanged, spaceOf } from './changed-volume.js';
import { atMost } from './figures.js';
import { beside, byEachBuild, syncRival } from './lvmsync-run.js';
import { sizeText } from './stores.js';
import { speedTo, type Reading } from './turns.js';
import { findMemory } from './workplace.js';

const [BLOCK, CHUNK] = [4096, 65_536];
const SHAPE = halfChanged(2 ** 29);

/** What differs in the chunks that are named as changed, against all of them. */
export async function benchDelta(bench: Bench): Promise<void> {
  await workIn(bench, findMemory(spaceOf(SHAPE)), async ({ folder, name }) => {
    const size = sizeText(SHAPE.chunks * CHUNK);
    bench.report.title(`${size} in scattered 64 KiB chunks, in each of which 4 KiB differ, ${name}`);
    let place = 0;
    const volume = new ChangedVolume(folder, SHAPE, (chunk) => {
      randomFillSync(chunk, (place % (CHUNK / BLOCK)) * BLOCK, BLOCK);
      place += 1;
    });
    const goal = { target: volume.target };
    const delta = syncRival(volume, goal);
    const rivals = byEachBuild(bench.builds, { delta, whole: syncRival(volume, goal, ['--whole-chunks']) });
    await race(bench, rivals, [
      { what: 'sent to written', ...sentToWritten('delta'), bar: atMost(1.15) },
      { what: 'the same with --whole-chunks', ...sentToWritten('whole') },
      { what: 'speed to --whole-chunks', ...speedTo('delta', 'whole') },
      { what: 'speed to other build', ...speedTo('delta', beside('delta')) },
    ]);
  });
}

function sentToWritten(name: string): Reading {
  return { unit: '×', of: [name], read: (sample) => (sample.sent ?? NaN) / (SHAPE.chunks * BLOCK) };
}
