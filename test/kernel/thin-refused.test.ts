import { chmodSync, closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { copyDevice, scatterWrites, waitUntil } from './support/devices.js';
import {
  createVolume,
  createVolumeGroup,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  removeVolumeGroup,
  run,
  writeRandom,
} from './support/lab.js';
import { expectFailure } from './support/outcomes.js';
import { start } from './support/random-moments.js';
import { lv, NOTHING_LEFT, ThinLab } from './support/thin-lab.js';

const GROUP = 'vg-thin';
const MIB = 1024 * 1024;
const FAKES = '/run/fake-thin-tools';

let target = '';
let lab: ThinLab;
beforeAll(async () => {
  await createVolumeGroup(GROUP);
  lab = await ThinLab.make(GROUP, '64k');
  target = await createVolume(GROUP, 'target', '32M');
  await writeRandom(lab.volume, 0, 4 * MIB, 'base');
  await copyDevice(lab.volume, target);
  await lv('lvcreate', '-s', '-n', 'base', `${GROUP}/vol`);
  await scatterWrites(lab.volume, { unit: 4096, stride: 50, count: 8, seed: 'changed' });
});
afterAll(() => removeVolumeGroup(GROUP));
afterEach(async () => {
  rmSync(FAKES, { recursive: true, force: true });
  expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
});

/** Puts a script in the place of thin_delta, and returns the environment in which it is found. */
function fakeThinDelta(script: string): Record<string, string> {
  mkdirSync(FAKES, { recursive: true });
  writeFileSync(`${FAKES}/thin_delta`, `#!/bin/bash\n${script}\n`);
  chmodSync(`${FAKES}/thin_delta`, 0o755);
  return { PATH: `${FAKES}:${process.env['PATH'] ?? ''}` };
}

describe('a run that is cut short', () => {
  it('by SIGKILL leaves nothing after the next one', async () => {
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
      stderr: expect.stringMatching(/lvmsync-tmp-.*: removed; a run that was killed had left it/) as string,
    });
    expect(await digestOf(target)).toBe(await digestOf(lab.volume));
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
    ['a failure', 12, 'echo "bad luck" >&2; exit 1', /failed \(status 1\): bad luck/],
  ])('by thin_delta, with %s, has changed nothing', async (_, status, script, message) => {
    const before = await digestOf(target);
    await expectFailure([`${GROUP}/base`, target], status, message, { environment: fakeThinDelta(script) });
    expect(await digestOf(target)).toBe(before);
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
        /thin pool vg--thin-pool-tpool is locked by a metadata snapshot .* not lvmsync's.*"dmsetup message .* release_/,
      );
      expect(await lab.heldRoot()).toBe(held);
    } finally {
      await lab.message('release_metadata_snap');
    }
  });
});

describe('a pool that runs full while its metadata snapshot is held', () => {
  it('gets it back', async () => {
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
    await expectFailure([`${GROUP}/vol`, target], 4, /a thin volume that is no snapshot/);
    await lv('lvcreate', '--type', 'thin-pool', '-L', '4M', '-c', '64k', '-n', 'small', GROUP);
    await lv('lvchange', '--errorwhenfull', 'y', `${GROUP}/small`);
    await lv('lvcreate', '--type', 'thin', '-V', '8M', '--thinpool', 'small', '-n', 'tight', GROUP);
    await lv('lvcreate', '-s', '-n', 'tight-snap', `${GROUP}/tight`);
    await expectFailure(
      [`${GROUP}/tight-snap`, target, '-r', `${GROUP}/base`],
      4,
      /inactive.*lvchange -ay -K vg-thin\/base/,
    );
    await expectFailure([`${GROUP}/base`, target, '-r', `${GROUP}/tight`], 2, /not of the same thin pool/);
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
