import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { ByteSink } from '../../src/bytes/byte-channel.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { LVMSYNC } from './lvmsync-run.js';
import { runInTurns, speedRatios, spreadOf, timeRun } from './measure.js';
import { line, rate, title, type Bars } from './report.js';
import { scatter } from './stores.js';
import { findDisk, leave, type Workplace } from './workplace.js';

const ROUNDS = 3;
const CHANGED_BYTES = 256 * 2 ** 20;
const VOLUME_BYTES = 2 * CHANGED_BYTES;
const SPACE_NEEDED = VOLUME_BYTES + 3 * CHANGED_BYTES;
const COST_BAR = 2;

/** What saving the old bytes costs: an apply with the journal beside one without. */
export async function benchJournal(bars: Bars): Promise<void> {
  title('journal: apply of 256 MiB onto an image file of 512 MiB, with the journal beside --no-journal');
  const place = findDisk(SPACE_NEEDED);
  if (typeof place === 'string') {
    line('SKIPPED', place);
    return;
  }
  try {
    for (const blockSize of [4096, 65_536]) await benchBlocks(blockSize, place, bars);
  } finally {
    leave(place);
  }
}

async function benchBlocks(blockSize: number, place: Workplace, bars: Bars): Promise<void> {
  const [target, stream] = [path.join(place.folder, 'target.img'), path.join(place.folder, 'stream')];
  fillFile(target);
  await writeStream(stream, blockSize);
  line(`${place.name}, ${blockSize / 1024} KiB blocks`);
  for (const pages of ['cold', 'warm'] as const) {
    const time = (...options: readonly string[]) => timeApply({ stream, target, pages, options }, place);
    const seconds = await runInTurns({ journal: () => time(), without: () => time('--no-journal') }, ROUNDS);
    const cost = speedRatios(seconds.without, seconds.journal);
    for (const name of ['journal', 'without'] as const) {
      const speed = spreadOf(seconds[name].map((each) => CHANGED_BYTES / each / 1e6));
      line(`  ${pages}, ${name === 'journal' ? 'with the journal' : 'without'}`, rate(speed, 'MB/s'));
    }
    const what = `journal, ${blockSize / 1024} KiB blocks`;
    const bar =
      pages === 'cold'
        ? [bars.check(what, cost.median <= COST_BAR, `at most ${COST_BAR} times the time`)]
        : [];
    line(`  ${pages}, time with to without`, rate(cost, '×', 2), ...bar);
  }
}

interface ApplyRun {
  readonly stream: string;
  readonly target: string;
  readonly pages: 'cold' | 'warm';
  readonly options: readonly string[];
}

async function timeApply(
  { stream, target, pages, options }: ApplyRun,
  { folder }: Workplace,
): Promise<number> {
  const stateDir = path.join(folder, 'state');
  mkdirSync(stateDir, { recursive: true });
  settlePages(stream, 'warm');
  settlePages(target, pages);
  const words = ['--quiet', '--state-dir', stateDir, ...options, '--apply', stream, target];
  const { seconds } = await timeRun([process.execPath, LVMSYNC, ...words]);
  rmSync(stateDir, { recursive: true });
  return seconds;
}

/** Drops a file's own pages once they are on disk, or reads all of it; other files' pages stay as they are. */
function settlePages(file: string, pages: 'cold' | 'warm'): void {
  const words =
    pages === 'cold'
      ? [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0']
      : [`if=${file}`, 'of=/dev/null', 'bs=1M'];
  execFileSync('dd', [...words, 'status=none']);
}

function fillFile(file: string): void {
  const piece = Buffer.alloc(16 * 2 ** 20);
  const handle = openSync(file, 'w');
  for (let done = 0; done < VOLUME_BYTES; done += piece.length) writeSync(handle, randomFillSync(piece));
  closeSync(handle);
}

/** Every other block, by chance, as one block each: nothing is joined with its neighbours. */
async function writeStream(file: string, blockSize: number): Promise<void> {
  const bits = Math.log2(VOLUME_BYTES / blockSize);
  const units = Array.from({ length: CHANGED_BYTES / blockSize }, (_, index) => scatter(index, bits));
  const handle = openSync(file, 'w');
  const writer = new FrameWriter(fileSink(handle));
  await writer.start({
    kind: 'changes',
    volumeSize: VOLUME_BYTES,
    blockSize,
    base: null,
    result: null,
    expectedBytes: CHANGED_BYTES,
    names: {},
    host: '',
    time: '2026-01-02T03:04:05Z',
    writer: 'bench',
  });
  const bytes = randomFillSync(Buffer.alloc(blockSize));
  for (const unit of units.sort((a, b) => a - b)) {
    bytes.writeUInt32BE(unit);
    await writer.data(unit * blockSize, bytes);
  }
  await writer.finish();
  closeSync(handle);
}

function fileSink(handle: number): ByteSink {
  return {
    write: (piece) => {
      writeSync(handle, piece);
      return Promise.resolve();
    },
    end: () => Promise.resolve(),
  };
}
