import { userInfo } from 'node:os';
import path from 'node:path';
import { makeChangedVolume } from './changed-volume.js';
import { LVMSYNC } from './lvmsync-run.js';
import { runInTurns, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { startSshd, type Sshd } from './sshd.js';
import { findDisk, findMemory, leave, type Workplace } from './workplace.js';

const ROUNDS = 11;
/** 43 MB in chunks of 64 KiB. */
const CHUNKS = 656;
const SPACE_NEEDED = 5 * CHUNKS * 65_536;
const SECONDS_BAR = 0.5;

/** What a small sync takes beyond ssh's own connection: start-up, mostly, and nothing that grows with the volume. */
export async function benchSmallSync(bars: Bars): Promise<void> {
  title('over ssh, loopback: 43 MB of changes by default, beyond what "ssh HOST true" takes');
  for (const bits of [16, 20]) {
    const memory = findMemory(SPACE_NEEDED);
    const place = typeof memory === 'string' ? findDisk(SPACE_NEEDED) : memory;
    if (typeof place === 'string') {
      line('SKIPPED', place);
      return;
    }
    const sshd = await startSshd(place.folder, false);
    try {
      if (typeof sshd === 'string') line('SKIPPED', sshd);
      else await benchVolume(sshd, place, bits, bars).finally(() => sshd.stop());
    } finally {
      leave(place);
    }
  }
}

async function benchVolume(sshd: Sshd, place: Workplace, bits: number, bars: Bars): Promise<void> {
  const volume = makeChangedVolume(place, { bits, chunks: CHUNKS });
  const target = `ssh://${userInfo().username}@127.0.0.1:${sshd.port}${volume.target}`;
  const environment = { ...process.env, PATH: `${sshd.commands}:${process.env['PATH'] ?? ''}` };
  const how = ['--quiet', '--state-dir', path.join(place.folder, 'state')];
  const words = [...how, '--cow', volume.cow, '--origin', volume.origin, target];
  const seconds = await runInTurns(
    {
      lvmsync: async () => (await timeRun([process.execPath, LVMSYNC, ...words], environment)).seconds,
      ssh: async () => (await timeRun([...sshd.client, 'true'])).seconds,
    },
    ROUNDS,
  );
  volume.verify();
  const beyond = spreadOf(seconds.lvmsync.map((each, round) => each - (seconds.ssh[round] ?? NaN)));
  const size = `${2 ** (bits - 14)} GiB`;
  const bar = bars.check(`a small sync, ${size}`, beyond.median < SECONDS_BAR, `under ${SECONDS_BAR} s`);
  line(`${place.name}, volume of ${size}`, megabytes(volume.changedBytes));
  line('  ssh HOST true', rate(spreadOf(seconds.ssh), 's', 2));
  line('  lvmsync', rate(spreadOf(seconds.lvmsync), 's', 2));
  line('  beyond it', rate(beyond, 's', 2), bar);
}
