import { truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bootGuest } from '../support/guest/boot-guest.js';
import { prepareGuests } from '../support/suite/prepare-guests.js';
import { speedRatios, spreadOf } from './measure.js';
import { line, rate, title } from './report.js';
import { CHANGED_BYTES, VOLUME_GIB, type RollbackSeconds } from './rollback-volume.js';
import { findDisk, leave, type Workplace } from './workplace.js';

/** What the sparse disks come to hold: the volumes' changed blocks, stores, archives, a journal. Bytes. */
const SPACE = 8 * CHANGED_BYTES;

/** A rollback by LVM's merge beside a plain restore, of volumes of several sizes with as many changes. */
export async function benchRollback(): Promise<void> {
  const changes = `${CHANGED_BYTES / 2 ** 20} MiB in 64 KiB blocks anywhere in the volume`;
  title(`rollback: ${changes}; inside a guest (User-Mode Linux, one processor)`);
  const place = findDisk(SPACE);
  if (typeof place === 'string') {
    line('SKIPPED', place);
    return;
  }
  try {
    const { systems, obstacles } = await prepareGuests(['newer/own', 'own/own']);
    if (systems.length > 0) report(await measureInGuest(place));
    else line('SKIPPED', `no guest can be booted: ${obstacles.join('; ')}`);
  } finally {
    leave(place);
  }
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

function report(measured: readonly RollbackSeconds[]): void {
  const instant = VOLUME_GIB.map((gib) => {
    const rounds = measured.filter((each) => each.gib === gib);
    const returned = rounds.map((each) => each.instant);
    line(`volume of ${gib} GiB`);
    line('  restore --instant', rate(spreadOf(returned), 's', 1), 'until it reads as it was');
    line('  … until it is merged', rate(spreadOf(rounds.map((each) => each.merged)), 's', 1));
    line('  restore', rate(spreadOf(rounds.map((each) => each.plain)), 's', 1));
    return returned;
  });
  const growth = speedRatios(instant[0] ?? [], instant.at(-1) ?? []);
  line('--instant, the last to the first', rate(growth, '×', 2));
}
