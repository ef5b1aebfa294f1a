import { mkdirSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { StateRecord } from '../../src/target/state-record.js';
import { targetKeyOf } from '../../src/target/target-key.js';
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
