import { closeSync, mkdirSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { announced } from '../support/blocks.js';
import { race, workIn, type Bench } from './bench-run.js';
import type { Build } from './builds.js';
import { atMost } from './figures.js';
import { beside, byEachBuild, runLvmsyncIn } from './lvmsync-run.js';
import { fileSink } from './stores.js';
import { peakOf, timeTo, type Reading, type Rival } from './turns.js';
import { findMemory } from './workplace.js';

const [FEW, MANY] = [30, 120];
const EXTENTS = 10_000;
const BLOCK = 512;
/** Extents of all archives take turns over the volume: the worst for who reads them. */
const VOLUME_BYTES = MANY * EXTENTS * BLOCK;

/** Going back by many archives beside few: what each of them costs. */
export async function benchRestore(bench: Bench): Promise<void> {
  await workIn(bench, findMemory(4 * VOLUME_BYTES), async ({ folder }) => {
    bench.report.title(`by ${FEW} and by ${MANY} archives of 10,000 extents of 512 bytes each, a dry run`);
    const target = path.join(folder, 'target');
    writeFileSync(target, '');
    truncateSync(target, VOLUME_BYTES);
    for (const count of [FEW, MANY]) {
      mkdirSync(path.join(folder, String(count)));
      for (let index = 1; index <= count; index++) await writeUndo(path.join(folder, String(count)), index);
    }
    const restore =
      (count: number) =>
      (build: Build): Rival => {
        const from = path.join(folder, String(count));
        const words = ['restore', target, '--to', 'S0', '--from', from, '--dry-run', '--force=base'];
        return () => runLvmsyncIn(folder, build, words);
      };
    await race(bench, byEachBuild(bench.builds, { few: restore(FEW), many: restore(MANY) }), [
      { what: `of ${FEW}, each`, ...millisecondsEach('few', FEW) },
      { what: `of ${MANY}, each`, ...millisecondsEach('many', MANY) },
      {
        ...{ what: 'each of many to each of few', unit: '×', of: ['many', 'few'], bar: atMost(2) },
        read: (many, few) => ((many.seconds / few.seconds) * FEW) / MANY,
      },
      { what: 'time to other build, of many', ...timeTo('many', beside('many')) },
      { what: 'peak memory', ...peakOf('near', 'few', 'many') },
    ]);
  });
}

function millisecondsEach(name: string, count: number): Reading {
  return { unit: 'ms', of: [name], read: (sample) => (sample.seconds / count) * 1000 };
}

async function writeUndo(folder: string, index: number): Promise<void> {
  const handle = openSync(path.join(folder, `${index}.undo`), 'w');
  const writer = new FrameWriter(fileSink(handle), { indexed: true });
  await writer.start({
    ...{ kind: 'undo', volumeSize: VOLUME_BYTES, blockSize: BLOCK, expectedBytes: EXTENTS * BLOCK },
    ...{ base: `S${index}`, result: `S${index - 1}`, names: {}, host: '', writer: 'bench' },
    time: new Date(Date.UTC(2026, 0, 1, 0, index)).toISOString(),
  });
  const bytes = Buffer.alloc(BLOCK, `archive ${index} `);
  const crc = crc32(bytes);
  const stride = VOLUME_BYTES / EXTENTS;
  const offsets = Array.from({ length: EXTENTS }, (_, nth) => nth * stride + (index - 1) * BLOCK);
  for (let from = 0; from < EXTENTS; from += 100) {
    const some = offsets.slice(from, from + 100);
    for (const offset of some) await writer.data(offset, bytes);
    const writes = some.map((offset) => ({ offset, length: BLOCK, zeroes: false, crc }));
    await writer.announce(announced(...writes));
  }
  await writer.finish();
  closeSync(handle);
}
