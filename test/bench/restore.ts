import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { announced } from '../support/blocks.js';
import { LVMSYNC } from './lvmsync-run.js';
import { readPeakMemory, recordedNode, timeRun } from './measure.js';
import { line, megabytes, title, type Bars } from './report.js';
import { fileSink } from './stores.js';
import { findMemory, leave } from './workplace.js';

const COUNTS = [30, 60, 120, 240];
const EXTENTS = 10_000;
const BLOCK = 512;
/** Extents of all archives take turns over the volume: the worst for who reads them. */
const VOLUME_BYTES = (COUNTS.at(-1) ?? 0) * EXTENTS * BLOCK;
/** Per archive, of the most archives beside the fewest. */
const TIME_BAR = 2;

/** Going back by more and more archives: what each of them costs. */
export async function benchRestore(bars: Bars): Promise<void> {
  title(`restore: by ${COUNTS.join(', ')} archives of 10,000 extents of 512 bytes each, a dry run`);
  const place = findMemory(4 * VOLUME_BYTES);
  if (typeof place === 'string') {
    line('SKIPPED', place);
    return;
  }
  try {
    const { folder } = place;
    const [target, memory, undos] = ['target', 'memory', 'undos'].map((name) => path.join(folder, name));
    if (target === undefined || memory === undefined || undos === undefined) return;
    writeFileSync(target, '');
    truncateSync(target, VOLUME_BYTES);
    const each: number[] = [];
    for (const count of COUNTS) {
      mkdirSync(undos);
      for (let index = 1; index <= count; index++) await writeUndo(undos, index);
      const words = ['restore', target, '--to', 'S0', '--from', undos, '--dry-run', '--force=base'];
      const environment = { ...process.env, BENCH_MEMORY_FILE: memory };
      const stateDir = path.join(folder, `state-${count}`);
      const run = [...recordedNode(LVMSYNC), ...words, '--state-dir', stateDir] as const;
      const { seconds } = await timeRun([...run], environment);
      each.push((seconds / count) * 1000);
      const peak = megabytes(readPeakMemory(memory));
      line(`  ${count}`, `${seconds.toFixed(1)} s`, `${((seconds / count) * 1000).toFixed(0)} ms each`, peak);
      rmSync(undos, { recursive: true });
    }
    const ratio = (each.at(-1) ?? 0) / (each[0] ?? 1);
    const isFlat = bars.check('restore', ratio <= TIME_BAR, `at most ${TIME_BAR} times as long per archive`);
    line('  per archive, most to fewest', `${ratio.toFixed(2)} ×`, isFlat);
  } finally {
    leave(place);
  }
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
