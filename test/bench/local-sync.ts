import path from 'node:path';
import { CHANGED_BYTES, makeChangedVolume, SPACE_NEEDED } from './changed-volume.js';
import { LvmsyncRun } from './lvmsync-run.js';
import { runInTurns, speedRatios, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { findDisk, findMemory, leave, type Workplace } from './workplace.js';

const ROUNDS = 7;
const MEMORY_BAR = 200e6;

/** A local sync against dd, both flushed at the end. */
export async function benchLocalSync(bars: Bars): Promise<void> {
  title('local sync: 1 GiB in scattered 64 KiB chunks, beside dd of the same bytes in one piece');
  for (const place of [findMemory(SPACE_NEEDED), findDisk(SPACE_NEEDED)]) {
    if (typeof place === 'string') line('SKIPPED', place);
    else {
      await benchIn(place, bars).finally(() => {
        leave(place);
      });
    }
  }
}

async function benchIn(place: Workplace, bars: Bars): Promise<void> {
  const volume = makeChangedVolume(place);
  const { alone, copy, target } = volume;
  const memoryFile = path.join(place.folder, 'memory');
  // dd neither keeps a way back nor proves anything: like with like.
  const lvmsync = new LvmsyncRun(volume, target, memoryFile, process.env, ['--no-journal', '--whole-chunks']);
  const byDefault = new LvmsyncRun(volume, target, memoryFile);
  const dd = ['dd', `if=${alone}`, `of=${copy}`, 'bs=1M', 'conv=fdatasync,notrunc', 'status=none'] as const;
  const seconds = await runInTurns(
    { lvmsync: lvmsync.time, byDefault: byDefault.time, dd: async () => (await timeRun([...dd])).seconds },
    ROUNDS,
  );
  volume.verify();
  line(place.name);
  const names = { lvmsync: 'lvmsync, no journal or proofs', byDefault: 'lvmsync by default', dd: 'dd' };
  for (const name of ['lvmsync', 'byDefault', 'dd'] as const) {
    line(`  ${names[name]}`, rate(spreadOf(seconds[name].map((each) => CHANGED_BYTES / each / 1e6)), 'MB/s'));
  }
  line('  lvmsync to dd', rate(speedRatios(seconds.lvmsync, seconds.dd), '×', 2));
  line('  by default to dd', rate(speedRatios(seconds.byDefault, seconds.dd), '×', 2));
  const peakMemory = Math.max(lvmsync.peakMemory, byDefault.peakMemory);
  const bar = bars.check('local sync', peakMemory < MEMORY_BAR, `under ${megabytes(MEMORY_BAR)}`);
  line('', `peak ${megabytes(peakMemory)}`, bar);
}
