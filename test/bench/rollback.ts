import { truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bootGuest } from '../support/guest/boot-guest.js';
import { prepareGuests } from '../support/suite/prepare-guests.js';
import { workIn, type Bench } from './bench-run.js';
import { spreadOf } from './figures.js';
import type { Report } from './report.js';
import { CHANGED_BYTES, VOLUME_GIB, type RollbackSeconds } from './rollback-volume.js';
import { findDisk, type Workplace } from './workplace.js';

/** What the sparse disks come to hold: the volumes' changed blocks, stores, archives, a journal. Bytes. */
const SPACE = 8 * CHANGED_BYTES;

/** A rollback by LVM's merge beside a plain restore, of volumes of several sizes with as many changes. */
export async function benchRollback(bench: Bench): Promise<void> {
  await workIn(bench, findDisk(SPACE), async (place) => {
    const changes = `${CHANGED_BYTES / 2 ** 20} MiB in 64 KiB blocks anywhere in the volume`;
    bench.report.title(`${changes}; inside a guest (User-Mode Linux, one processor)`);
    const { systems, obstacles } = await prepareGuests(['newer/own', 'own/own']);
    if (systems.length > 0) tell(bench.report, await measureInGuest(place));
    else bench.report.skip(`no guest can be booted: ${obstacles.join('; ')}`);
  });
}

async function measureInGuest({ folder }: Workplace): Promise<RollbackSeconds[]> {
  const disks = ['volumes', 'archives'].map((name) => path.join(folder, name));
  for (const disk of disks) {
    writeFileSync(disk, '');
    truncateSync(disk, 8 * 2 ** 30);
  }
  const script = path.join(import.meta.dirname, 'rollback-in-guest.ts');
  const { status, ended, stdout, stderr } = await bootGuest({
    command: [process.execPath, '--import', 'tsx', script],
    disks,
    timeoutSeconds: 1200,
  });
  if (status !== 0) throw new Error(`the guest ${ended}, status ${status ?? 'none'}: ${stdout}${stderr}`);
  return stdout
    .trim()
    .split('\n')
    .map((each) => JSON.parse(each) as RollbackSeconds);
}

function tell(report: Report, measured: readonly RollbackSeconds[]): void {
  for (const gib of VOLUME_GIB) {
    const rounds = measured.filter((each) => each.gib === gib);
    for (const [what, key] of [
      ['restore --instant', 'instant'],
      ['… until it is merged', 'merged'],
      ['restore', 'plain'],
    ] as const) {
      const spread = spreadOf(rounds.map((each) => each[key]));
      report.figure({ what: `${gib} GiB: ${what}`, unit: 's', spread, runs: rounds.length, bar: null });
    }
  }
}
