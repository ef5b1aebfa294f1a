import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootGuest, startGuest } from '../support/guest/boot-guest.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-crash-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it('loses buffered writes and keeps direct ones when the plug is pulled', async () => {
  const disk = path.join(folder, 'disk');
  writeFileSync(disk, '');
  truncateSync(disk, 1024 * 1024);
  // no write-back by age; the device stays open, as its last close would flush it
  const script = `
    echo 60000 | tee /proc/sys/vm/dirty_{writeback,expire}_centisecs
    exec 5<>/dev/ubda
    yes | head -c 4096 | dd of=/dev/ubda oflag=direct conv=notrunc status=none
    yes | head -c 4096 | dd of=/dev/ubda seek=8 conv=notrunc status=none
    echo written; sync /dev/stdout; sleep 60`;
  const guest = startGuest({
    command: ['bash', '-c', script],
    disks: [disk],
    onOutput: (_stream, piece) => {
      if (piece.includes('written')) guest.kill();
    },
  });
  expect(await guest.finished).toMatchObject({ ended: 'killed', status: null });

  const { stdout } = await bootGuest({
    command: [
      'bash',
      '-c',
      'for at in 0 8; do dd if=/dev/ubda skip=$at count=1 status=none | od -An -N4 -c; done',
    ],
    disks: [disk],
  });
  expect(stdout.replaceAll(' ', '').split('\n').slice(0, 2)).toEqual(['y\\ny\\n', '\\0\\0\\0\\0']);
});

it('tells a guest that ran out of time from one that died', async () => {
  const late = bootGuest({ command: ['sleep', '60'], timeoutSeconds: 4 });
  const dead = bootGuest({ command: ['bash', '-c', 'echo c >/proc/sysrq-trigger'] });
  expect(await late).toMatchObject({ ended: 'timed out', status: null });
  expect(await dead).toMatchObject({ ended: 'died', status: null });
  expect((await dead).console).toContain('Kernel panic');
});
