import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { race, workIn, type Bench } from './bench-run.js';
import { ChangedVolume, spaceOf } from './changed-volume.js';
import { atMost } from './figures.js';
import { beside, byEachBuild, syncRival } from './lvmsync-run.js';
import { timeRun } from './measure.js';
import { memoryOf } from './ssh-sync.js';
import { startSshd } from './sshd.js';
import { sizeText } from './stores.js';
import type { Plan, Rival } from './turns.js';
import { findMemory } from './workplace.js';

/** 43 MB in chunks of 64 KiB. */
const CHUNKS = 656;
/** Volumes by their chunks, as a power of two. */
const SIZES = { '4 GiB': 16, '4 TiB': 26 } as const;
/** How much longer the larger volume may take: it has a thousand times the size, and the same changes. */
const FLAT = 1.2;

/** What a small sync takes beyond ssh's own connection: start-up, mostly, and nothing that grows with the volume. */
export async function benchSmallSync(bench: Bench): Promise<void> {
  const shapes = Object.entries(SIZES).map(([size, bits]) => ({ size, bits, chunks: CHUNKS }));
  const space = shapes.reduce((sum, shape) => sum + spaceOf(shape), 0);
  // The file systems of disks have no files of 16 TiB, some of 4.
  await workIn(bench, findMemory(space), async ({ folder }) => {
    const sshd = await startSshd(folder, bench.builds);
    if (typeof sshd === 'string') {
      bench.report.skip(sshd);
      return;
    }
    const syncs = shapes.map(({ size, bits, chunks }) => {
      mkdirSync(path.join(folder, size));
      const volume = new ChangedVolume(path.join(folder, size), { bits, chunks });
      return [size, syncRival(volume, sshd.goal(volume.target, sshd.port))] as const;
    });
    const changed = sizeText(CHUNKS * 65_536);
    bench.report.title(
      `${changed} of changes over ssh, loopback, by default, beyond what "ssh HOST true" takes`,
    );
    const rivals: [string, Rival][] = [
      ...byEachBuild(bench.builds, Object.fromEntries(syncs)),
      ['ssh', () => timeRun([...sshd.client(sshd.port), 'true'])],
    ];
    const sizes = Object.keys(SIZES);
    await race(bench, rivals, [
      ...sizes.flatMap((size) => beyondSsh(size)),
      {
        ...{ what: 'beyond it, 4 TiB to 4 GiB', unit: '×', of: ['4 TiB', '4 GiB', 'ssh'], bar: atMost(FLAT) },
        read: quotient,
      },
      ...memoryOf(...sizes),
    ]).finally(() => sshd.stop());
  });
}

function beyondSsh(size: string): Plan[] {
  return [
    {
      ...{ what: `beyond it, ${size}`, unit: 's', of: [size, 'ssh'] },
      read: (ours, ssh) => ours.seconds - ssh.seconds,
    },
    {
      ...{ what: `beyond it to other build, ${size}`, unit: '×', of: [size, beside(size), 'ssh'] },
      ...{ bar: atMost(0.6), read: quotient },
    },
  ];
}

const quotient: Plan['read'] = (ours, theirs, ssh) => {
  const connection = ssh.seconds;
  return (ours.seconds - connection) / (theirs.seconds - connection);
};
