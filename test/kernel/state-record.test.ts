import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { StateRecord } from '../../src/target/state-record.js';
import { targetKeyOf } from '../../src/target/target-key.js';
import { blindnessIn } from '../../src/target/write-stamp.js';
import { waitUntil } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  digestOf,
  removeVolumeGroup,
  run,
  writeRandom,
} from './support/lab.js';

const GROUP = 'vg-record';
const FOLDER = '/run/record';
const STATE = { is: 'exactly', identity: 'some snapshot', from: null } as const;

let target = '';
let record: StateRecord;
beforeAll(async () => {
  await createVolumeGroup(GROUP);
  target = await createVolume(GROUP, 'target', '16M');
  const { realPath, number } = await targetKeyOf(target);
  record = new StateRecord(FOLDER, { path: realPath, number });
});
afterAll(() => removeVolumeGroup(GROUP));
beforeEach(() => {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER);
});

it('is believed while nobody writes, and not after one write', async () => {
  await record.write(STATE);
  await digestOf(target);
  expect(await record.read()).toMatchObject({ holds: STATE, isStale: false });
  await writeRandom(target, 4096, 4096, 'someone else');
  expect(await record.read()).toMatchObject({ holds: null, isStale: true });
});

it('counts where the kernel does, whatever it says by default, and says so where it was told not to', async () => {
  const iostats = `/sys/dev/block/${(await targetKeyOf(target)).number ?? ''}/queue/iostats`;
  const before = readFileSync(iostats, 'utf8');
  expect(blindnessIn(await record.stamp())).toBeNull();
  await record.write(STATE);
  writeFileSync(iostats, '0');
  try {
    const blindness = blindnessIn(await record.stamp());
    await writeRandom(target, 8192, 4096, 'someone else');
    // Linux 6.1 counts all the same, and 7.2 does not: either is seen.
    const known = await record.read();
    if (blindness === null) expect(known).toMatchObject({ holds: null, isStale: true });
    else {
      expect(blindness).toMatch(/iostats is 0/);
      expect(known.holds).toMatchObject({ believed: expect.stringMatching(/iostats is 0/) as string });
    }
  } finally {
    writeFileSync(iostats, before);
  }
});

it('is not believed after an LVM merge, which writes past the volume itself', async () => {
  await createSnapshot(GROUP, 'target', 'before', { size: '16M' });
  await writeRandom(target, 0, 1 << 20, 'applied');
  await record.write(STATE);
  expect(await record.read()).toMatchObject({ holds: STATE, isStale: false });
  const applied = await digestOf(target);
  await run(['lvconvert', '-qq', '--merge', `${GROUP}/before`]);
  await waitUntil('the merge is done', async () => {
    await run(['lvs', GROUP]);
    return !(await run(['dmsetup', 'status'])).includes('snapshot-merge');
  });
  expect(await digestOf(target)).not.toBe(applied);
  expect(await record.read()).toMatchObject({ holds: null, isStale: true });
});
