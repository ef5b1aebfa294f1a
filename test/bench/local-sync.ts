import { rmSync } from 'node:fs';
import { race, sizeIn, workIn, type Bench } from './bench-run.js';
import { ChangedVolume, halfChanged, spaceOf } from './changed-volume.js';
import { atLeast, under } from './figures.js';
import { beside, byEachBuild, syncRival } from './lvmsync-run.js';
import { timeRun } from './measure.js';
import { localPeers } from './peers.js';
import { sizeText } from './stores.js';
import { peakOf, speedOf, speedTo, type Rival } from './turns.js';
import { findMemory } from './workplace.js';

/** dd keeps no way back and proves nothing: like with like. */
export const PLAIN = ['--no-journal', '--whole-chunks'];

/** A local sync, beside dd of the changed bytes in one piece; both flush at the end. */
export async function benchLocalSync(bench: Bench): Promise<void> {
  const shape = halfChanged(sizeIn(bench, 2 ** 30, 2 ** 27));
  await workIn(bench, findMemory(spaceOf(shape)), async ({ folder, name }) => {
    const volume = new ChangedVolume(folder, shape);
    const { alone, copy, target, changedBytes } = volume;
    bench.report.title(`a sync of ${sizeText(changedBytes)} in scattered 64 KiB chunks on one host, ${name}`);
    const dd = async () => {
      rmSync(copy, { force: true });
      return timeRun(['dd', `if=${alone}`, `of=${copy}`, 'bs=1M', 'conv=fdatasync', 'status=none']);
    };
    const peers = localPeers(bench.peers, volume);
    const rivals: [string, Rival][] = [
      ...byEachBuild(bench.builds, {
        default: syncRival(volume, { target }),
        plain: syncRival(volume, { target }, PLAIN),
      }),
      ['dd', dd],
      ...peers,
    ];
    await race(bench, rivals, [
      { what: 'speed by default', ...speedOf('default', changedBytes) },
      { what: 'speed to other build', ...speedTo('default', beside('default')), bar: atLeast(4) },
      { what: 'speed to dd', ...speedTo('default', 'dd') },
      { what: 'plain: speed to other build', ...speedTo('plain', beside('plain')) },
      { what: 'plain: speed to dd', ...speedTo('plain', 'dd') },
      ...peers.map(([peer]) => ({ what: `speed to ${peer}`, ...speedTo('default', peer) })),
      { what: 'peak memory', ...peakOf('near', 'default', 'plain'), bar: under(150) },
    ]);
  });
}
