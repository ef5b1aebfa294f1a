import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootGuest, startGuest } from '../support/guest/boot-guest.js';

const CHECKOUT = path.resolve(import.meta.dirname, '../..');

/** What every boot begins with: the volume group's disk, of which the writes can be made slow. */
const START = `
  set -eu
  lvmsync() { node ${CHECKOUT}/bin/lvmsync.js "$@"; }
  sha() { dd if=/dev/vg/"$1" bs=1M iflag=direct status=none | sha256sum | cut -d' ' -f1; }
  # the host hears of it at once
  say() { echo "$*"; sync /dev/stdout; }
  sectors=$(($(blockdev --getsz /dev/ubda) - 2048))
  fast="0 $sectors linear /dev/ubda 2048"
  slow="0 $sectors delay /dev/ubda 2048 0 /dev/ubda 2048 200"
  dmsetup create disk --table "$fast"
  become() { dmsetup suspend --nolockfs --noflush disk; dmsetup load disk --table "$1"; dmsetup resume disk; }
  mkdir -p /run/disk`;

/** A transfer whose snapback leads from the changed volume to the old one: many short runs. */
const PREPARE = `${START}
  mkfs.ext4 -q -F /dev/ubdb
  mount /dev/ubdb /run/disk
  mkdir /run/disk/undo
  vgcreate -qq -ff -y -s 1M vg /dev/mapper/disk
  for name in origin target; do lvcreate -qq -y -Wn -Zn -n $name -L 16M vg; done
  head -c 16M /dev/urandom >/run/disk/base
  for name in origin target; do dd if=/run/disk/base of=/dev/vg/$name bs=1M oflag=direct status=none; done
  lvcreate -qq -y -s -p r -n before -L 16M -c 4k vg/origin
  node -e '
    const fs = require("fs"), to = fs.openSync("/dev/vg/origin", "r+");
    for (let at = 0; at < 40; at++) fs.writeSync(to, require("crypto").randomBytes(65536), 0, 65536, at * 6 * 65536);
    fs.fsyncSync(to);'
  lvcreate -qq -y -s -p r -n after -L 4M -c 4k vg/origin
  lvmsync vg/before -r vg/after /dev/vg/target -b /run/disk/undo/one --state-dir /run/disk/state
  say "old $(sha256sum </run/disk/base)"
  say "new $(sha target)"
  # slow from the moment on at which the merge is asked for
  mkdir -p /run/bin
  cat >/run/bin/lvconvert <<END
#!/bin/bash
case "\\$*" in *--merge*)
  dmsetup suspend --nolockfs --noflush disk
  dmsetup load disk --table "$slow"
  dmsetup resume disk;;
esac
exec $(PATH=/usr/sbin:/sbin command -v lvconvert) "\\$@"
END
  chmod +x /run/bin/lvconvert
  lvmsync restore /dev/vg/target --to 2026-01-01 --from /run/disk/undo --state-dir /run/disk/state --instant
  say "table $(dmsetup table vg-target)"
  say "at once $(sha target)"
  say "still $(dmsetup table vg-target)"
  say the plug
  sleep 60`;

const AFTER = `${START}
  become "$slow"
  vgchange -qq -ay vg
  say "table $(dmsetup table vg-target)"
  say "booted $(sha target)"
  become "$fast"
  for i in $(seq 600); do
    # LVM looks after its merge
    lvs vg >/dev/null
    dmsetup table vg-target | grep -q snapshot || break
    sleep 0.1
  done
  say "table $(dmsetup table vg-target)"
  say "merged $(sha target)"`;

let folder = '';
let disks: string[] = [];
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-instant-'));
  disks = ['volumes', 'state'].map((name) => path.join(folder, name));
  for (const disk of disks) {
    writeFileSync(disk, '');
    truncateSync(disk, 128 * 1024 * 1024);
  }
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it('an instant rollback continues after a crash of the machine in the middle, and shows the old state all the time', async () => {
  const guest = startGuest({
    command: ['bash', '-c', PREPARE],
    disks,
    onOutput: (_stream, piece) => {
      if (piece.includes('the plug')) guest.kill();
    },
  });
  const { ended, stdout, stderr } = await guest.finished;
  expect(ended, stdout + stderr).toBe('killed');
  const old = wordAfter('old', stdout);
  expect(wordAfter('new', stdout)).not.toBe(old);
  expect(wordAfter('at once', stdout)).toBe(old);
  expect(stdout, stderr).toMatch(/^still .*snapshot-merge/m);

  const booted = await bootGuest({ command: ['bash', '-c', AFTER], disks });
  expect(booted.status, booted.stdout + booted.stderr).toBe(0);
  expect(wordAfter('booted', booted.stdout)).toBe(old);
  expect(wordAfter('merged', booted.stdout)).toBe(old);
  const tables = [...booted.stdout.matchAll(/^table \d+ \d+ (\S+)/gm)].map(([, type]) => type);
  expect(tables).toEqual(['snapshot-merge', 'linear']);
}, 300_000);

function wordAfter(name: string, text: string): string {
  const [, word] = new RegExp(`^${name} (\\w+)`, 'm').exec(text) ?? [];
  if (word === undefined) throw new Error(`no ${name} in: ${text}`);
  return word;
}
