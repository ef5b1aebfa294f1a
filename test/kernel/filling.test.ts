import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { copyDevice } from './support/devices.js';
import { createSnapshot, createVolume, lvmsync, run, writeRandom } from './support/lab.js';
import { expectSameBytes } from './support/same-bytes.js';
import { lv } from './support/thin-lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-filling';
const MIB = 1024 * 1024;
/** What a rate is measured over at least is 5 s. */
const RATE_MS = 6_000;

useVolumeGroup(GROUP);

it('inspect and a transfer warn of a classic snapshot’s store that is nearly full', async () => {
  const origin = await createVolume(GROUP, 'origin', '16M');
  const target = await createVolume(GROUP, 'target', '16M');
  await copyDevice(origin, target);
  await createSnapshot(GROUP, 'origin', 'snap', { size: '8M', chunkSize: '64k', permission: 'r' });
  await writeRandom(origin, 0, 5 * MIB, 'some');
  expect((await lvmsync(['inspect', `${GROUP}/snap`])).stderr).toBe('');
  await writeRandom(origin, 0, 7 * MIB, 'most');
  await pause(RATE_MS);
  const warning =
    /^lvmsync: warning: vg-filling\/snap: its store is 8\d\.\d % full \(7\.\d of 8\.0 MiB\), filling by \d+\.\d MiB a minute, so it is full in \d+ (s|minutes); once it is full the snapshot is lost: extend it in time/;
  expect((await lvmsync(['inspect', `${GROUP}/snap`])).stderr).toMatch(warning);
  const { status, stderr } = await lvmsync([`${GROUP}/snap`, target]);
  expect([status, stderr]).toEqual([0, expect.stringMatching(warning)]);
  await expectSameBytes(target, origin);
  await run(['lvremove', '-qq', '-f', `${GROUP}/origin`, `${GROUP}/target`]);
});

it('inspect and a transfer warn of a thin pool that is nearly full', async () => {
  await lv('lvcreate', '--type', 'thin-pool', '-L', '16M', '-c', '64k', '-n', 'pool', GROUP);
  await lv('lvcreate', '--type', 'thin', '-V', '32M', '--thinpool', 'pool', '-n', 'vol', GROUP);
  await writeRandom(`/dev/${GROUP}/vol`, 0, 14 * MIB, 'thin');
  await lv('lvcreate', '-s', '-n', 'old', `${GROUP}/vol`);
  const { status, stdout, stderr } = await lvmsync(['inspect', `${GROUP}/old`]);
  expect([status, stdout, stderr]).toEqual([
    0,
    expect.stringMatching(/ {2}pool {8}87\.5 % full .*\n {2}metadata {4}\d/),
    expect.stringMatching(
      /^lvmsync: warning: vg--filling-pool-tpool: the pool is 87\.5 % full \(14\.0 of 16\.0 MiB\); once it is full the volumes in it fail/,
    ),
  ]);
  await lv('lvremove', '-f', `${GROUP}/pool`);
});
