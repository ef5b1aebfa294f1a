import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSnapshot, createVolume, createVolumeGroup, lvmsync, run } from './support/lab.js';
import { expectFailure, expectPlainLines, runLvmsync } from './support/outcomes.js';

/* A disk of another host, or a clone of one's own, brings a second volume group of a name that there is already. */

const GROUP = 'vg-twice';
const CONF = '/etc/lvm/lvm.conf';
const usual = readFileSync(CONF, 'utf8');

/** Has LVM see one of the two disks alone. */
function hide(disk: string | null): void {
  const filter = disk === null ? '' : `\ndevices { filter = ["r|${disk}|"] }\n`;
  writeFileSync(CONF, `${usual}${filter}`);
}

beforeAll(async () => {
  await createVolumeGroup(GROUP);
  await createVolume(GROUP, 'origin', '4M');
  await createVolume(GROUP, 'off', '4M');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '4M' });
  await run(['vgchange', '-qq', '-an', GROUP]);
  hide('/dev/ubda');
  await createVolumeGroup(GROUP, '/dev/ubdb');
  hide('/dev/ubdb');
  await run(['lvchange', '-qq', '-ay', `${GROUP}/origin`]);
  hide(null);
});
afterAll(async () => {
  await run(['vgremove', '-qq', '-ff', '-y', GROUP, 'vg-once']);
  await run(['pvremove', '-qq', '-ff', '-y', '/dev/ubda', '/dev/ubdb']);
});

describe('two volume groups of one name', () => {
  const message =
    /2 volume groups are called vg-twice, so LVM cannot find a volume by that name: rename one of them by its UUID \(vgrename UUID NEWNAME; the UUIDs are \S{38} and \S{38}\)/;

  it('are reported if a volume of theirs is not found', async () => {
    const origin = `/dev/${GROUP}/origin`;
    for (const words of [
      [`${GROUP}/nix`, origin],
      [`${GROUP}/snap`, `${GROUP}/off`],
      [`${GROUP}/snap`, `/dev/${GROUP}/off`],
      ['verify', origin, `${GROUP}/off`],
      ['verify', `${GROUP}/off`, origin],
      ['copy', origin, `${GROUP}/new`, '--create'],
      ['inspect', `${GROUP}/off`],
    ]) {
      const said = await expectFailure(words, 12, message);
      expect(said.trim().split('\n')).toHaveLength(1);
      expect(said).not.toMatch(/no such|does not create targets|system IDs/);
    }
  });

  it('leave what is active as it is: a snapshot is read, a volume is compared', async () => {
    await runLvmsync('inspect', `${GROUP}/snap`);
    await runLvmsync('verify', `${GROUP}/snap`, `${GROUP}/origin`);
  });

  it('are a problem for the doctor, which says which groups they are', async () => {
    const { status, stdout, stderr } = await lvmsync(['doctor']);
    expect({ status, stdout }).toEqual({
      status: 12,
      stdout: expect.stringMatching(
        /problem +volume groups: 2 volume groups are called vg-twice.*\n +→ rename one of them by its UUID/,
      ) as string,
    });
    if (stderr !== '') expectPlainLines(stderr);
  });

  it('are no problem once one of them is renamed by its UUID', async () => {
    const uuid = await run(['vgs', '--noheadings', '-o', 'vg_uuid', '--select', 'lv_count=0']);
    await run(['vgrename', '-qq', uuid.trim(), 'vg-once']);
    await expectFailure([`${GROUP}/snap`, `${GROUP}/off`], 3, /inactive: activate it first/);
    expect((await lvmsync(['doctor'])).stdout).toMatch(/ok +volume groups: 2, each with a name of its own/);
  });
});
