import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootGuest, startGuest } from '../support/guest/boot-guest.js';
import { randomFrom } from '../kernel/support/random-moments.js';

const CHECKOUT = path.resolve(import.meta.dirname, '../..');
const CRASHES = Number(process.env['LVMSYNC_CRASHES'] ?? 4);
const SEED = Number(process.env['LVMSYNC_SEED'] ?? Date.now() % 1_000_000);

/**
 * What the guest says: a recover writes to the target, it has ended; the journal of what writes then is there, its first
 * write is, it has reported success.
 */
const TAKING_BACK = 'it-takes-back';
const RECOVERED = 'it-recovered';
const BEGUN = 'it-began';
const WRITING = 'it-writes';
const DONE = 'it-is-done';
const SIGNS = [TAKING_BACK, RECOVERED, BEGUN, WRITING, DONE] as const;
type Sign = (typeof SIGNS)[number];

/** What a boot does once it has recovered: applies a stream, transfers from the snapshot itself, waits, or ends. */
type Work = 'apply' | 'session' | 'wait' | 'end';
/** What each crash comes between, round and round. */
const WORKS = ['apply', 'session', 'apply', 'session'] as const;
/** So slow that a session's first checkpoint, after five seconds, comes before its end. */
const SESSION_RATE = '3M';
const SESSION_MS = 7000;
/** What a recover may take here, about. */
const TAKING_BACK_MS = 600;

const HALF_WRITTEN = 'taken back, was half-written';

/** What every boot begins with. The journal's file system is on the second disk, and honours fsync. */
const START = `
  set -eu
  lvmsync() { node ${CHECKOUT}/bin/lvmsync.js "$@"; }
  sha() { dd if=/dev/vg/"$1" bs=1M iflag=direct status=none | sha256sum | cut -d' ' -f1; }
  # the host hears of it at once
  say() { echo "$*"; sync /dev/stdout; }
  mkdir -p /run/disk`;

const PREPARE = `${START}
  vgcreate -qq -ff -y -s 1M vg /dev/ubda
  for name in origin target; do lvcreate -qq -y -Wn -Zn -n $name -L 40M vg; done
  mkfs.ext4 -q -F /dev/ubdb
  mount /dev/ubdb /run/disk
  head -c 40M /dev/urandom >/run/disk/base
  dd if=/run/disk/base of=/dev/vg/origin bs=1M oflag=direct status=none
  lvcreate -qq -y -s -n snap -L 44M -c 4k vg/origin
  # many batches: of small blocks, then of large ones
  node -e '
    const fs = require("fs"), to = fs.openSync("/dev/vg/origin", "r+");
    const random = (length) => require("crypto").randomBytes(length);
    for (let at = 0; at < 5000; at += 2) fs.writeSync(to, random(4096), 0, 4096, at * 4096);
    fs.writeSync(to, random(16 << 20), 0, 16 << 20, 22 << 20);
    fs.fsyncSync(to);'
  lvmsync --stdout vg/snap >/run/disk/stream
  echo "base $(sha256sum </run/disk/base)"
  echo "result $(sha origin)"
  umount /run/disk
  sync`;

/** Recovers from the crash before, and writes until the next one, if there is one. */
const RECOVER_AND_WRITE = `${START}
  vgchange -qq -ay vg
  mount /dev/ubdb /run/disk
  say "found $(sha target)"
  number=$(dmsetup info -c --noheadings -o minor vg-target)
  writes() { read -r _ _ _ _ count _ </sys/class/block/dm-"$number"/stat; }
  # from here on the next write is seen, and said
  arm() { writes; before=$count; }
  say_at_write() { while writes; [ "$count" = "$before" ]; do sleep 0.02; done; say "$1"; }
  arm
  say_at_write ${TAKING_BACK} & watcher=$!
  lvmsync recover --state-dir /run/disk/state /dev/vg/target 2>&1
  kill $watcher 2>/dev/null || true
  say ${RECOVERED}
  say "holds $(sha target)"
  [ "$WORK" != end ] || exit 0
  [ "$WORK" != wait ] || sleep 60
  dd if=/run/disk/base of=/dev/vg/target bs=1M oflag=direct status=none
  rm -rf /run/disk/state
  arm
  (
    until compgen -G '/run/disk/state/targets/*/apply.json' >/dev/null; do sleep 0.05; done; say ${BEGUN}
    say_at_write ${WRITING}
  ) &
  case "$WORK" in
    apply) lvmsync --apply /run/disk/stream --state-dir /run/disk/state /dev/vg/target ;;
    session) lvmsync --bwlimit ${SESSION_RATE} --state-dir /run/disk/state vg/snap /dev/vg/target ;;
  esac
  say ${DONE}
  sleep 60`;

let folder = '';
let disks: string[] = [];
let base = '';
let result = '';
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-power-'));
  disks = ['volumes', 'state'].map((name) => path.join(folder, name));
  for (const disk of disks) {
    writeFileSync(disk, '');
    truncateSync(disk, 192 * 1024 * 1024);
  }
  const prepared = await bootGuest({ command: ['bash', '-c', PREPARE], disks });
  expect(prepared, prepared.stderr).toMatchObject({ status: 0 });
  base = wordAfter('base', prepared.stdout);
  result = wordAfter('result', prepared.stdout);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it(
  'a crash of the machine at any moment of an apply, a session or a recover leaves, once recovered, the base or the reported result',
  async () => {
    const random = randomFrom(SEED);
    // the first one right after a success, which is to stay; it tells how long an apply takes
    const whole = await bootAndCrash('apply', [DONE], 0);
    expect(whole.wasReported, whole.stdout).toBe(true);
    let before = whole;
    const story: string[] = [];
    const isEnough = (crashes: number) =>
      (crashes >= CRASHES && story.includes(HALF_WRITTEN)) || crashes === 3 * CRASHES;
    for (let crash = 0, isLast = false; !isLast; crash++) {
      isLast = isEnough(crash);
      // the recover of an apply that was cut while it wrote
      const cut = crash % 4 === 1 || crash % 4 === 2 ? await cutRecover(random) : '';
      const next = isLast ? await bootOnly() : await crashDuring(crash, whole, random);
      const [found, holds] = [wordAfter('found', next.stdout), wordAfter('holds', next.stdout)];
      const what = `seed ${SEED}, crash ${crash}, ${before.ms(BEGUN)} ms after its journal began: ${cut}${next.stdout}`;
      const said = /taken back|it holds the result|nothing to recover/.exec(next.stdout)?.[0];
      if (before.wasReported) expect(holds, what).toBe(result);
      else if (said === 'taken back' || cut.includes(TAKING_BACK)) expect(holds, what).toBe(base);
      else if (said === 'it holds the result') expect(holds, what).toBe(result);
      else expect([base, result], what).toContain(holds);
      expect(said, what).toBeDefined();
      if (cut !== '') story.push(`recover cut${cut.includes(TAKING_BACK) ? ' while it wrote' : ''}`);
      story.push(`${said ?? ''}${[base, result].includes(found) ? '' : ', was half-written'}`);
      before = next;
    }
    console.log(`seed ${SEED}, an apply writes for ${whole.ms(WRITING)} ms: ${story.join('; ')}`);
    expect(story).toContain(HALF_WRITTEN);
  },
  (4 * CRASHES + 2) * 60_000,
);

interface Boot {
  readonly stdout: string;
  /** Whether lvmsync had reported success before the crash. */
  readonly wasReported: boolean;
  /** From a sign to the crash. */
  ms(sign: Sign): number;
}

/** Recovers and writes, and crashes at a random moment of that. */
function crashDuring(crash: number, whole: Boot, random: () => number): Promise<Boot> {
  const work = WORKS[crash % WORKS.length] ?? 'apply';
  if (work === 'session') return bootAndCrash(work, [WRITING, DONE], random() * SESSION_MS);
  // every other one from the first write on, so that some meet a target that is half-written
  const sign = crash % 4 === 0 ? WRITING : BEGUN;
  return bootAndCrash(work, [sign], random() * 0.8 * whole.ms(sign));
}

/** Recovers, and crashes while that writes, or once it is over; what the guest said. */
async function cutRecover(random: () => number): Promise<string> {
  const { stdout } = await bootAndCrash('wait', [TAKING_BACK, RECOVERED], random() * TAKING_BACK_MS);
  return stdout;
}

/** Recovers and does the work, and pulls the plug so many milliseconds after the first of these signs. */
async function bootAndCrash(work: Work, after: readonly Sign[], milliseconds: number): Promise<Boot> {
  const seen = new Map<Sign, number>();
  let crashed = 0;
  let timer: NodeJS.Timeout | undefined;
  const guest = startGuest({
    command: ['bash', '-c', RECOVER_AND_WRITE],
    disks,
    environment: { WORK: work },
    onOutput: (_stream, piece) => {
      for (const sign of SIGNS) {
        if (seen.has(sign) || !piece.includes(sign)) continue;
        seen.set(sign, performance.now());
        if (!after.includes(sign)) continue;
        timer ??= setTimeout(() => {
          crashed = performance.now();
          guest.kill();
        }, milliseconds);
      }
    },
  });
  const { ended, stdout, stderr } = await guest.finished;
  expect(ended, `seed ${SEED}: ${stdout}${stderr}`).toBe('killed');
  return {
    stdout,
    wasReported: stdout.includes(DONE),
    ms: (sign) => Math.round(crashed - (seen.get(sign) ?? crashed)),
  };
}

async function bootOnly(): Promise<Boot> {
  const command = ['bash', '-c', RECOVER_AND_WRITE] as const;
  const { status, stdout, stderr } = await bootGuest({ command, disks, environment: { WORK: 'end' } });
  expect(status, stdout + stderr).toBe(0);
  return { stdout, wasReported: false, ms: () => 0 };
}

function wordAfter(name: string, text: string): string {
  const [, word] = new RegExp(`^${name} (\\w+)`, 'm').exec(text) ?? [];
  if (word === undefined) throw new Error(`no ${name} in: ${text}`);
  return word;
}
