import { userInfo } from 'node:os';
import path from 'node:path';
import { CHANGED_BYTES, makeChangedVolume, SPACE_NEEDED } from './changed-volume.js';
import { LvmsyncRun } from './lvmsync-run.js';
import { readPeakMemory, readProcessorTime, runInTurns, speedRatios, spreadOf, timeRun } from './measure.js';
import { line, megabytes, rate, title, type Bars } from './report.js';
import { startSshd, type Sshd } from './sshd.js';
import { findDisk, findMemory, leave, type Workplace } from './workplace.js';

const ROUNDS = 5;
const SPEED_BAR = 0.95;
const MEMORY_BAR = 200e6;
/** ssh2 prefers this one; OpenSSH's client prefers ChaCha20, which most processors do slower. */
const SAME_CIPHER = 'aes128-gcm@openssh.com';

/** A sync over the built-in ssh against a pipe through OpenSSH's, to one and the same sshd on loopback. */
export async function benchSshSync(bars: Bars): Promise<void> {
  title('over ssh, loopback: the same 1 GiB, beside cat FILE | ssh HOST "cat > FILE"');
  const memory = findMemory(SPACE_NEEDED);
  const place = typeof memory === 'string' ? findDisk(SPACE_NEEDED) : memory;
  if (typeof place === 'string') {
    line('SKIPPED', place);
    return;
  }
  const sshd = await startSshd(place.folder);
  try {
    if (typeof sshd === 'string') line('SKIPPED', sshd);
    else await benchThrough(sshd, place, bars).finally(() => sshd.stop());
  } finally {
    leave(place);
  }
}

async function benchThrough(sshd: Sshd, place: Workplace, bars: Bars): Promise<void> {
  const volume = makeChangedVolume(place);
  const target = `ssh://${userInfo().username}@127.0.0.1:${sshd.port}${volume.target}`;
  const environment = { ...process.env, PATH: `${sshd.commands}:${process.env['PATH'] ?? ''}` };
  const memoryFile = path.join(place.folder, 'sender-memory');
  // What cat does, and no more: no old bytes are proved, none are kept, nothing is compressed.
  const alike = ['--no-journal', '--whole-chunks', '--codec', 'none'];
  const lvmsync = new LvmsyncRun(volume, target, memoryFile, environment, alike);
  const byDefault = new LvmsyncRun(volume, target, memoryFile, environment);
  const receiver = { memory: 0, seconds: [] as number[] };
  const timeLvmsync = async (): Promise<number> => {
    const seconds = await lvmsync.time();
    receiver.memory = Math.max(receiver.memory, readPeakMemory(sshd.receiverMemory));
    receiver.seconds.push(readProcessorTime(sshd.receiverMemory));
    return seconds;
  };
  const timeCat = (options: readonly string[]) => async (): Promise<number> => {
    const pipe = 'file=$1; copy=$2; shift 2; cat "$file" | "$@" "cat > $copy"';
    const words = [sshd.client[0], ...options, ...sshd.client.slice(1)];
    return (await timeRun(['sh', '-c', pipe, 'sh', volume.alone, volume.copy, ...words])).seconds;
  };
  const seconds = await runInTurns(
    {
      lvmsync: timeLvmsync,
      catSameCipher: timeCat(['-c', SAME_CIPHER]),
      cat: timeCat([]),
      byDefault: byDefault.time,
    },
    ROUNDS,
  );
  volume.verify();

  const speed = (taken: readonly number[]): string =>
    rate(spreadOf(taken.map((each) => CHANGED_BYTES / each / 1e6)), 'MB/s');
  line(place.name);
  line('  lvmsync, as cat does', speed(seconds.lvmsync));
  line('  cat | ssh, AES-128-GCM', speed(seconds.catSameCipher));
  line('  cat | ssh, by default', speed(seconds.cat));
  line('  lvmsync by default', speed(seconds.byDefault));
  for (const [name, rival] of [
    ['with AES-128-GCM', seconds.catSameCipher],
    ['by default', seconds.cat],
  ] as const) {
    const ratio = speedRatios(seconds.lvmsync, rival);
    const bar = bars.check(`over ssh, to cat ${name}`, ratio.median >= SPEED_BAR, `at least ${SPEED_BAR}`);
    line(`  lvmsync to cat ${name}`, rate(ratio, '×', 2), bar);
  }
  for (const [side, peak, processor] of [
    ['sender', lvmsync.peakMemory, lvmsync.processorSeconds],
    ['receiver', receiver.memory, receiver.seconds],
  ] as const) {
    const bar = bars.check(`over ssh, ${side}`, peak < MEMORY_BAR, `under ${megabytes(MEMORY_BAR)}`);
    line(`  ${side}, processor for 1 GiB`, rate(spreadOf(processor), 's', 2));
    line('', `peak ${megabytes(peak)}`, bar);
  }
}
