import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { StoreLayout } from '../../src/changes/cow-format.js';
import { LVMSYNC } from './lvmsync-run.js';
import { runInTurns, speedRatios, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { scatter, writeSparseStore } from './stores.js';
import { findMemory, leave, type Workplace } from './workplace.js';

const ROUNDS = 5;
const BLOCK = 4096;
const CHUNK = 65_536;
/** Chunks of the volume, as a power of two; half of them are named as changed. */
const BITS = 14;
const CHUNKS = 2 ** (BITS - 1);
/** The store, the volume and the target, and a journal of all that is named. */
const SPACE_NEEDED = 5 * CHUNKS * CHUNK;
/** What a line may carry for each byte that was written in blocks of 4 KiB. */
const SENT_BAR = 1.15;

/** What differs in the chunks that are named as changed, against all of them. */
export async function benchDelta(bars: Bars): Promise<void> {
  title(`delta: ${megabytes(CHUNKS * CHUNK)} in scattered 64 KiB chunks, in each of which 4 KiB differ`);
  const place = findMemory(SPACE_NEEDED);
  if (typeof place === 'string') line('SKIPPED', place);
  else {
    await benchIn(place, bars).finally(() => {
      leave(place);
    });
  }
}

async function benchIn(place: Workplace, bars: Bars): Promise<void> {
  const volume = new RewrittenVolume(place.folder);
  const sent = { delta: 0, whole: 0 };
  const rival =
    (name: 'delta' | 'whole', ...options: readonly string[]) =>
    async () => {
      volume.resetTarget();
      const { cow, origin, target } = volume;
      const words = ['--json', '--state-dir', path.join(place.folder, 'state'), ...options];
      const all = [...words, '--cow', cow, '--origin', origin, target];
      const { seconds, stdout } = await timeRun([process.execPath, LVMSYNC, ...all]);
      sent[name] = (JSON.parse(stdout) as { sentBytes: number }).sentBytes;
      volume.verify();
      return seconds;
    };
  const rivals = { delta: rival('delta'), whole: rival('whole', '--whole-chunks') };
  const seconds = await runInTurns(rivals, ROUNDS);
  line(place.name);
  const written = CHUNKS * BLOCK;
  const tell = (name: 'delta' | 'whole', words: string, bar = '') => {
    const times = `${megabytes(sent[name])} sent, ${(sent[name] / written).toFixed(2)} × what was written`;
    line(`  ${words}`, rate(spreadOf(seconds[name]), 's', 2), times, bar);
  };
  const isFew = sent.delta <= written * SENT_BAR;
  tell('delta', 'what differs', bars.check('delta', isFew, `at most ${SENT_BAR} ×`));
  tell('whole', '--whole-chunks');
  line('  faster by', rate(speedRatios(seconds.delta, seconds.whole), '×', 2));
}

/** A volume, its store and a target, of which chunks by chance were written to: one block in each. Paths of files. */
class RewrittenVolume {
  readonly cow: string;
  readonly origin: string;
  readonly target: string;
  private readonly changes: { readonly place: number; readonly old: Buffer; readonly now: Buffer }[] = [];

  constructor(folder: string) {
    [this.cow, this.origin, this.target] = ['store.cow', 'origin.img', 'target.img'].map((name) =>
      path.join(folder, name),
    ) as [string, string, string];
    const chunkAt = (index: number) => scatter(index, BITS);
    writeSparseStore(this.cow, CHUNK / 512, CHUNKS, chunkAt);
    const [cow, origin] = [openSync(this.cow, 'r+'), openSync(this.origin, 'wx')];
    const target = openSync(this.target, 'wx');
    for (const file of [origin, target]) ftruncateSync(file, 2 ** BITS * CHUNK);
    const { areaEntries } = new StoreLayout(CHUNK / 512);
    for (let index = 0; index < CHUNKS; index++) {
      const bytes = randomFillSync(Buffer.alloc(CHUNK));
      const kept = index + Math.floor(index / areaEntries) + 2;
      writeSync(cow, bytes, 0, CHUNK, kept * CHUNK);
      const place = chunkAt(index) * CHUNK;
      writeSync(target, bytes, 0, CHUNK, place);
      const at = (index % (CHUNK / BLOCK)) * BLOCK;
      const old = Buffer.from(bytes.subarray(at, at + BLOCK));
      const now = randomFillSync(bytes.subarray(at, at + BLOCK));
      writeSync(origin, bytes, 0, CHUNK, place);
      this.changes.push({ place: place + at, old, now: Buffer.from(now) });
    }
    for (const file of [cow, origin, target]) closeSync(file);
  }

  /** Makes the target what the store's old bytes are. */
  resetTarget(): void {
    // Not held open: a target that anyone has open is refused.
    const file = openSync(this.target, 'r+');
    for (const { place, old } of this.changes) writeSync(file, old, 0, BLOCK, place);
    closeSync(file);
  }

  /** Throws unless the target has every block that was written. */
  verify(): void {
    const bytes = Buffer.alloc(BLOCK);
    const file = openSync(this.target, 'r');
    for (const { place, now } of this.changes) {
      readSync(file, bytes, 0, BLOCK, place);
      if (!bytes.equals(now)) throw new Error(`${this.target}: other bytes at ${place}`);
    }
    closeSync(file);
  }
}
