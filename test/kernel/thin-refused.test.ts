import { chmodSync, closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { copyDevice, scatterWrites, waitUntil } from './support/devices.js';
import { createVolume, digestOf, lvmsync, lvmsyncCommand, run, writeRandom } from './support/lab.js';
import { expectFailure } from './support/outcomes.js';
import { start } from './support/random-moments.js';
import { expectSameBytes } from './support/same-bytes.js';
import { lv, NOTHING_LEFT, ThinLab } from './support/thin-lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-thin';
const MIB = 1024 * 1024;
const FAKES = '/run/fake-thin-tools';

let target = '';
let lab: ThinLab;
useVolumeGroup(GROUP);
beforeAll(async () => {
  lab = await ThinLab.make(GROUP, '64k');
  target = await createVolume(GROUP, 'target', '32M');
  await writeRandom(lab.volume, 0, 4 * MIB, 'base');
  await copyDevice(lab.volume, target);
  await lv('lvcreate', '-s', '-n', 'base', `${GROUP}/vol`);
  await scatterWrites(lab.volume, { unit: 4096, stride: 50, count: 8, seed: 'changed' });
});
afterEach(async () => {
  rmSync(FAKES, { recursive: true, force: true });
  expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
});

/** What thin_delta 0.9 prints behind whatever it has to say. */
const USAGE = 'Usage: thin_delta [options] <device or file>\\nOptions:\\n  {--verbose}\\n  {-V|--version}';

/** Words of bash that print lines on stderr. */
function say(...lines: readonly string[]): string {
  return `printf '%b\\n' ${lines.map((line) => `'${line}'`).join(' ')} >&2`;
}

/** Puts a script in the place of thin_delta, and returns the environment in which it is found. */
function fakeThinDelta(script: string, version = '1.1.0'): Record<string, string> {
  mkdirSync(FAKES, { recursive: true });
  const answer = `if [[ $* == -V ]]; then echo ${version}; exit; fi`;
  writeFileSync(`${FAKES}/thin_delta`, `#!/bin/bash\n${answer}\n${script}\n`);
  chmodSync(`${FAKES}/thin_delta`, 0o755);
  return { PATH: `${FAKES}:${process.env['PATH'] ?? ''}` };
}

describe('a run that is cut short', () => {
  it('by SIGKILL leaves nothing after the next run', async () => {
    const holder = openSync(lab.volume, 'r');
    try {
      const [, ...words] = lvmsyncCommand(`${GROUP}/base`, target);
      const environment = fakeThinDelta('sleep 5');
      const killed = start(['env', `PATH=${environment['PATH'] ?? ''}`, process.execPath, ...words]);
      await waitUntil('the metadata snapshot is held', async () => (await lab.heldRoot()) !== '-');
      process.kill(killed.pid, 'SIGKILL');
      await killed.finished;
      expect(await lab.leftOvers()).toEqual({
        heldRoot: expect.stringMatching(/^\d+$/) as string,
        temporary: expect.stringMatching(/^lvmsync-tmp-/) as string,
      });
    } finally {
      closeSync(holder);
    }
    const { status, stderr } = await lvmsync([`${GROUP}/base`, target]);
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/lvmsync-tmp-.*: removed; a killed run had left it behind/) as string,
    });
    await expectSameBytes(target, lab.volume);
  });

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'by %s, to all of its processes, leaves nothing at once',
    async (signal) => {
      const holder = openSync(lab.volume, 'r');
      try {
        const environment = fakeThinDelta('sleep 5');
        const stopped = start([
          'setsid',
          'env',
          `PATH=${environment['PATH'] ?? ''}`,
          ...lvmsyncCommand(`${GROUP}/base`, target),
        ]);
        await waitUntil('the metadata snapshot is held', async () => (await lab.heldRoot()) !== '-');
        await sleep(100);
        process.kill(-stopped.pid, signal);
        expect(await stopped.finished).toEqual({
          status: signal === 'SIGTERM' ? 143 : 130,
          stderr: expect.stringContaining(`stopped by ${signal}`) as string,
        });
      } finally {
        closeSync(holder);
      }
    },
  );

  it.each([
    ['an output that is cut short', 6, 'echo "<superblock data_block_size=\\"128\\">"', /cut short/],
    ['a failure', 12, 'echo "bad luck" >&2; exit 1', /failed \(status 1\): bad luck\n$/],
    [
      'a failure of 0.9',
      12,
      `${say('Couldn’t stat path', USAGE)}; exit 1`,
      /\(status 1\): Couldn’t stat path\n$/,
    ],
    [
      'metadata that 0.9 finds damaged',
      4,
      `${say('damage in mapping tree, please run thin_check', USAGE)}; exit 1`,
      /vg--thin-pool-tpool: the metadata of the thin pool is damaged \(thin_delta 1\.1\.0: damage in mapping tree, .*see lvmthin\(7\)/,
    ],
    [
      'metadata that 1.1 finds damaged',
      4,
      `${say('node error: checksum error AwEB, effecting keys [..]')}; exit 64`,
      /vg--thin-pool-tpool: the metadata of the thin pool is damaged \(thin_delta 1\.1\.0: node error/,
    ],
    [
      'a device that is gone',
      4,
      `${say('Unable to find mapping tree for snap2 (1)')}; exit 64`,
      /vg-thin\/vol: not in the metadata of the thin pool vg--thin-pool-tpool as device 1 .*removed during the run/,
    ],
  ])('by thin_delta, with %s, has changed nothing', async (_, status, script, message) => {
    const before = await digestOf(target);
    await expectFailure([`${GROUP}/base`, target], status, message, { environment: fakeThinDelta(script) });
    expect(await digestOf(target)).toBe(before);
  });
});

describe('a thin_delta that gives wrong answers', () => {
  const wrong = 'echo "asked for a delta" >&2; exit 99';

  it.each([
    [
      '1.0.5',
      'thin_delta 1.0.5',
      /thin_delta -V: version 1\.0\.5 cannot be trusted: it reports changed blocks as/,
    ],
    ['0.8.5', '0.8.5', /thin_delta -V: version 0\.8\.5 cannot be trusted: lvmsync was not tested/],
    ['no version', 'what?', /thin_delta -V: it does not report its version/],
  ])('%s is refused before a snapshot is made or anything is written', async (_, said, message) => {
    const environment = fakeThinDelta(wrong, said);
    const before = await digestOf(target);
    const holder = openSync(lab.volume, 'r');
    try {
      const { status, stderr } = await lvmsync([`${GROUP}/base`, target, '-v'], { environment });
      expect({ status, stderr }).toEqual({ status: 12, stderr: expect.stringMatching(message) as string });
      expect(stderr).toMatch(/install version 1\.0\.6 or newer .*"lvmsync --scan"/);
      expect(stderr).not.toMatch(/lvcreate|reserve_metadata_snap/);
    } finally {
      closeSync(holder);
    }
    expect(await digestOf(target)).toBe(before);
  });

  it('is not asked for a delta, and not needed if everything is compared', async () => {
    const environment = fakeThinDelta(wrong, 'thin_delta 1.0.0');
    const refused = /version 1\.0\.0 cannot be trusted/;
    await expectFailure(['inspect', `${GROUP}/base`], 12, refused, { environment });
    await expectFailure(['verify', lab.volume, target, '--changed', `${GROUP}/base`], 12, refused, {
      environment,
    });
    await expectFailure(['copy', lab.volume, target], 12, refused, { environment });
    await writeRandom(lab.volume, 3 * MIB, 4096, 'scanned');
    for (const words of [['--scan'], ['copy', '--seed']]) {
      await writeRandom(target, 0, 4096, 'differs');
      const { status, stderr } = await lvmsync([...words, lab.volume, target], { environment });
      expect({ words, status, stderr }).toMatchObject({ status: 0 });
      await expectSameBytes(target, lab.volume);
    }
  });
});

describe('a metadata snapshot that another program holds', () => {
  it('is neither read nor given back', async () => {
    await lab.message('reserve_metadata_snap');
    try {
      const held = await lab.heldRoot();
      await expectFailure(
        [`${GROUP}/base`, target],
        13,
        /thin pool vg--thin-pool-tpool is locked by a metadata snapshot .* lvmsync did not reserve: .*"dmsetup message .* release_/,
      );
      expect(await lab.heldRoot()).toBe(held);
    } finally {
      await lab.message('release_metadata_snap');
    }
  });
});

describe('a pool that runs full while its metadata snapshot is held', () => {
  it('gets its space back', async () => {
    await lv('lvcreate', '--type', 'thin-pool', '-L', '4M', '-c', '64k', '-n', 'brim', GROUP);
    await lv('lvchange', '--errorwhenfull', 'y', `${GROUP}/brim`);
    await lv('lvcreate', '--type', 'thin', '-V', '8M', '--thinpool', 'brim', '-n', 'full', GROUP);
    await lv('lvcreate', '-s', '-n', 'full-snap', `${GROUP}/full`);
    const fill = `dd if=/dev/zero of=/dev/${GROUP}/full bs=64k count=100 oflag=direct status=none`;
    await expectFailure([`${GROUP}/full-snap`, target], 12, /no such luck/, {
      environment: fakeThinDelta(`${fill}; echo "no such luck" >&2; exit 1`),
    });
    const status = (await run(['dmsetup', 'status', 'vg--thin-brim-tpool'])).split(' ');
    expect(status.slice(6, 8)).toEqual(['-', 'out_of_data_space']);
  });
});

describe('what cannot be compared', () => {
  it('is refused: devices of two pools, one alone, inactive new bytes, and a pool without room', async () => {
    await expectFailure([`${GROUP}/vol`, target], 4, /a thin volume that is not a snapshot/);
    await lv('lvcreate', '--type', 'thin-pool', '-L', '4M', '-c', '64k', '-n', 'small', GROUP);
    await lv('lvchange', '--errorwhenfull', 'y', `${GROUP}/small`);
    await lv('lvcreate', '--type', 'thin', '-V', '8M', '--thinpool', 'small', '-n', 'tight', GROUP);
    await lv('lvcreate', '-s', '-n', 'tight-snap', `${GROUP}/tight`);
    await expectFailure(
      [`${GROUP}/tight-snap`, target, '-r', `${GROUP}/base`],
      4,
      /inactive.*lvchange -ay -K vg-thin\/base/,
    );
    await expectFailure([`${GROUP}/base`, target, '-r', `${GROUP}/tight`], 2, /not in the same thin pool/);
    await run([
      'bash',
      '-c',
      `! dd if=/dev/zero of=/dev/${GROUP}/tight bs=64k count=100 oflag=direct status=none`,
    ]);
    await expectFailure(
      [`${GROUP}/tight-snap`, target],
      4,
      /the thin pool is not in order: it is out of data space/,
    );
  });
});
