import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.js';
import { realNodeOf } from './support/devices.js';
import { examine, expectFinding, PLACE, STATE } from './support/doctor-look.js';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  digestOf,
  lvmsyncCommand,
  run,
  tryToRun,
  writeRandom,
} from './support/lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-ill';
const OTHER = 'vg-other';
const CONF = '/etc/lvm/lvm.conf';

const usual = readFileSync(CONF, 'utf8');
const undo: (readonly [string, ...string[]])[] = [];

let target = '';
useVolumeGroup(GROUP);
useVolumeGroup(OTHER, '/dev/ubdb');
beforeAll(async () => {
  target = await createVolume(GROUP, 'target', '8M');
  await createVolume(OTHER, 'data', '8M');
  mkdirSync(STATE, { recursive: true, mode: 0o700 });
});
afterEach(async () => {
  writeFileSync(CONF, usual);
  for (const words of undo.splice(0).reverse()) await run(words);
});
afterAll(() => {
  rmSync(PLACE, { recursive: true });
});

function set(...settings: readonly string[]): void {
  writeFileSync(CONF, [usual, ...settings, ''].join('\n'));
}

const HEALTHY = [
  'volume groups',
  'versions',
  'rights',
  'lvm',
  'device nodes',
  'device-mapper',
  'thin tools',
  'state directory',
];

it('the doctor of a machine without faults reports none', async () => {
  const checks = (await examine({ target })).map((each) => each.check);
  // The guest's disks are nobody else's, and its places small and in memory.
  expect(checks.filter((check) => !HEALTHY.includes(check))).toEqual([]);
});

describe('the doctor names', () => {
  it('a filter that hides a volume', async () => {
    set('devices { filter=[ "r|/dev/ubdb|" ] }');
    const found = await examine({ target });
    const text =
      /^LVM made \/dev\/mapper\/vg--other-data but does not show the volume group .*sets devices\/filter/;
    expectFinding(found, 'hidden volumes', 'problem', text, /filter and global_filter/);
  });

  it('a devices file that lacks a disk', async () => {
    mkdirSync('/etc/lvm/devices', { recursive: true });
    undo.push(['rm', '-r', '/etc/lvm/devices']);
    const id = (await run(['pvs', '--noheadings', '-o', 'pv_uuid', '/dev/ubda'])).trim().replaceAll('-', '');
    const entry = `IDTYPE=devname IDNAME=/dev/ubda DEVNAME=/dev/ubda PVID=${id}`;
    writeFileSync('/etc/lvm/devices/system.devices', `VERSION=1.1.1\n${entry}\n`);
    set('devices { use_devicesfile=1 }');
    const text = /^LVM made \/dev\/mapper\/vg--other-data .*use_devicesfile/;
    expectFinding(
      await examine({ target }),
      'hidden volumes',
      'problem',
      text,
      /devices file \(lvmdevices\)/,
    );
  });

  it('settings that limit what LVM activates, and those that change what it says', async () => {
    set(
      'activation { volume_list=[ "vg" ] auto_activation_volume_list=[ "vg" ] }',
      'log { prefix=" #" } report { binary_values_as_numeric=1 }',
    );
    const found = await examine({ target });
    expectFinding(found, 'activation', 'warning', /only what volume_list names: "vg"/, /to that list/);
    expectFinding(
      found,
      'auto-activation',
      'warning',
      /after a reboot other targets have no device/,
      /lvchange -ay/,
    );
    const printed = /log\/prefix.*lvmsync uses its own settings instead/;
    expect(found.find((each) => each.check === 'lvm.conf')).toMatchObject({
      verdict: 'ok',
      text: expect.stringMatching(printed) as string,
    });
  });

  it('a merge that waits, and a snapshot that is nearly full, which nobody watches', async () => {
    await createVolume(GROUP, 'origin', '8M');
    undo.push(['lvremove', '-qq', '-y', '-f', `${GROUP}/origin`]);
    await createSnapshot(GROUP, 'origin', 'old', { size: '4M' });
    await createSnapshot(GROUP, 'origin', 'full', { size: '4M' });
    await writeRandom(`/dev/${GROUP}/origin`, 0, 3_500_000, 'nearly');
    const found = await examine({ target });
    expectFinding(
      found,
      'snapshots',
      'warning',
      /^the snapshot vg-ill\/full is 8\d\.\d\d % full$/,
      /lvextend -L \+SIZE/,
    );
    expectFinding(
      found,
      'monitoring',
      'warning',
      /vg-ill\/full, vg-ill\/old gets: .*monitoring=0/,
      /monitoring=1/,
    );
    await run(['lvremove', '-qq', '-y', `${GROUP}/full`]);
    const held = await open(`/dev/${GROUP}/origin`, 'r');
    await run(['lvconvert', '-qq', '-y', '--merge', `${GROUP}/old`]);
    await held.close();
    const text = /into vg-ill\/origin, or will do so once it is closed/;
    expectFinding(await examine({ target }), 'merges', 'warning', text, /lvchange --refresh --poll y/);
  });

  it('a kernel that does not count writes', async () => {
    const kernelName = path.basename(realNodeOf(target));
    const iostats = `/sys/class/block/${kernelName}/queue/iostats`;
    const before = readFileSync(iostats, 'utf8').trim();
    writeFileSync(iostats, '0');
    try {
      const found = await examine({ target });
      const blind = found.filter((each) => each.check === 'write counts');
      // Linux 6.1 counts all the same, and 7.2 does not.
      if (await isCounting(kernelName)) expect(blind).toEqual([]);
      else
        expectFinding(
          found,
          'write counts',
          'warning',
          /^vg--ill-target: the kernel does not count/,
          /iostats/,
        );
    } finally {
      writeFileSync(iostats, before);
    }
  });

  it('a group that other hosts share', async () => {
    await run(['vgchange', '-qq', '-an', OTHER]);
    await run(['vgcfgbackup', '-qq', '-f', `${PLACE}/backup`, OTHER]);
    const plain = readFileSync(`${PLACE}/backup`, 'utf8');
    const shared = plain.replace(
      '\tmax_lv = 0',
      '\tlock_type = "sanlock"\n\tlock_args = "1.0.0:lvmlock"\n\tmax_lv = 0',
    );
    writeFileSync(`${PLACE}/shared`, shared);
    await run(['vgcfgrestore', '-qq', '-y', '-f', `${PLACE}/shared`, OTHER]);
    const text = /^other hosts may write to the volumes of vg-other/;
    try {
      expectFinding(await examine({ target }), 'shared groups', 'warning', text, /lvmsync verify/);
    } finally {
      await run(['dd', 'if=/dev/zero', 'of=/dev/ubdb', 'bs=1M', 'count=1', 'status=none']);
      await createVolumeGroup(OTHER, '/dev/ubdb');
      await createVolume(OTHER, 'data', '8M');
    }
  });

  it('a user who may not ask LVM', async () => {
    const as = ['setpriv', '--reuid', '65534', '--regid', '65534', '--groups', 'disk'] as const;
    const found = await examine({ target, as });
    expectFinding(found, 'lvm', 'warning', /permission denied.* is refused as a target/, /run as root/);
  });

  it('an LVM that waits for a lock, within seconds', async () => {
    const script = `exec flock /run/lock/lvm/V_${GROUP} sh -c "echo; sleep 600"`;
    const holder = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    try {
      const before = performance.now();
      const { stdout } = await tryToRun(lvmsyncCommand('doctor', '--json'), {
        environment: { XDG_STATE_HOME: PLACE },
      });
      expect(performance.now() - before).toBeLessThan(30_000);
      const { findings } = (JSON.parse(stdout) as { here: { findings: Finding[] } }).here;
      const text =
        /timed out waiting for the lock \/run\/lock\/lvm\/V_vg-ill, held by process \d+ \(.*\): wait/;
      expectFinding(findings, 'lvm', 'problem', text, /check the output of "lvs"/);
    } finally {
      process.kill(-(holder.pid ?? 0), 'SIGKILL');
    }
  });

  it('a device that is suspended', async () => {
    await run(['dmsetup', 'suspend', 'vg--other-data']);
    undo.push(['dmsetup', 'resume', 'vg--other-data']);
    expectFinding(
      await examine({ target }),
      'suspended devices',
      'problem',
      /^vg--other-data: suspended/,
      /dmsetup resume/,
    );
  });
});

/** Whether the kernel counts reads of a device past the page cache. */
async function isCounting(kernelName: string): Promise<boolean> {
  const reads = () => readFileSync(`/sys/class/block/${kernelName}/stat`, 'latin1').trim().split(/\s+/)[2];
  const before = reads();
  await digestOf(target);
  return reads() !== before;
}
