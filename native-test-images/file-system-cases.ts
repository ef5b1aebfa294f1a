import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { run } from '../test/kernel/support/run.js';
import type { Case } from './case.js';
import { readDevice } from './direct-access.js';
import { snapshotOnLvm, Stage, type StagePlan } from './stage.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const NAMES = { group: 'vg', volume: 'origin', snapshot: 'snap' };
const MOUNT_POINT = '/run/mnt';

/** Real files on ext4, snapshotted unmounted and changed through the file system. */
export const FILE_SYSTEM_CASES: readonly Case[] = [
  {
    name: 'ext4-files',
    what: 'ext4 with 60 files, chunks of 8 KiB: some rewritten, some added, one removed, one renamed',
    perform: () =>
      onExt4({ chunkSize: 8 * KIB, volumeSize: 16 * MIB, storeSize: 8 * MIB }, 60, () => {
        for (const number of [3, 17, 18]) writeText(`old/file-${number}`, `new ${number}`, 20_000);
        for (const number of [1, 2]) writeText(`added-${number}`, `added ${number}`, 50_000);
        rmSync(inside('old/file-30'));
        renameSync(inside('old/file-31'), inside('old/renamed'));
      }),
  },
  {
    name: 'ext4-day',
    what: 'a day on a volume of 96 MiB with ext4 and chunks of 64 KiB: logs grow, mail comes, a document changes',
    perform: () =>
      onExt4({ chunkSize: 64 * KIB, volumeSize: 96 * MIB, storeSize: 24 * MIB }, 400, () => {
        mkdirSync(inside('mail'));
        for (let number = 0; number < 40; number += 1) writeText(`mail/${number}`, `mail ${number}`, 30_000);
        for (let number = 0; number < 400; number += 16)
          writeText(`old/file-${number}`, `edit ${number}`, 9_000);
        writeText('log', 'a long log', 900_000);
        rmSync(inside('old/file-200'));
      }),
  },
];

async function onExt4(
  plan: StagePlan,
  files: number,
  change: () => void,
): Promise<{ stage: Stage; tableChunks: null }> {
  const device = '/dev/vg/origin';
  await run(['vgcreate', '-qq', '-ff', '-y', '-s', '4k', 'vg', '/dev/ubda']);
  await run(['lvcreate', '-qq', '-y', '-Wn', '-Zn', '-n', 'origin', '-L', `${plan.volumeSize}b`, 'vg']);
  const settings = 'lazy_itable_init=0,lazy_journal_init=0,nodiscard';
  await run(['mkfs.ext4', '-q', '-J', 'size=1', '-b', '1024', '-E', settings, device]);
  await whileMounted(device, () => {
    mkdirSync(inside('old'));
    for (let number = 0; number < files; number += 1) {
      writeText(`old/file-${number}`, `old ${number}`, 4_000 + (number % 7) * 9_000);
    }
  });
  const base = await readDevice(device);
  const stage = new Stage(plan, await snapshotOnLvm(plan, NAMES), base);
  await whileMounted(device, change);
  return { stage, tableChunks: null };
}

async function whileMounted(device: string, work: () => void): Promise<void> {
  mkdirSync(MOUNT_POINT, { recursive: true });
  await run(['mount', '-o', 'noatime', device, MOUNT_POINT]);
  work();
  await run(['umount', MOUNT_POINT]);
}

const inside = (name: string): string => path.join(MOUNT_POINT, name);

/** Text that differs from file to file and from line to line, and compresses well. */
function writeText(name: string, seed: string, length: number): void {
  const word = createHash('sha256').update(seed).digest('hex').slice(0, 12);
  const lines = Array.from({ length: Math.ceil(length / 80) }, (_, line) =>
    `${word} line ${line} of ${name} `.padEnd(79, '.'),
  );
  writeFileSync(inside(name), `${lines.join('\n')}\n`.slice(0, length));
}
