import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createVolume, lvmsync, run, seededBytes, writeBytes, writeRandom } from './support/lab.js';
import { copyDevice } from './support/devices.js';
import { expectFailure, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { lv, NOTHING_LEFT, ThinLab } from './support/thin-lab.js';
import { writeUndo } from './support/undo-archive.js';
import { useVolumeGroup } from './support/volume-group.js';

/* volume_list in lvm.conf says which volumes LVM activates: those that a run makes for itself are not among them. */

const GROUP = 'vg-listed';
const CONF = '/etc/lvm/lvm.conf';
const STATE = ['--state-dir', '/run/listed-state'] as const;
const usual = readFileSync(CONF, 'utf8');

let lab: ThinLab;
let target = '';

function list(...entries: readonly string[]): void {
  const quoted = entries.map((entry) => `"${entry}"`).join(', ');
  writeFileSync(CONF, `${usual}\nactivation { volume_list = [ ${quoted} ] }\n`);
}
const USERS_OWN = ['vol', 'first', 'target', 'pool'].map((name) => `${GROUP}/${name}`);

useVolumeGroup(GROUP);
beforeAll(async () => {
  lab = await ThinLab.make(GROUP, '64k');
  target = await createVolume(GROUP, 'target', '32M');
  await writeRandom(lab.volume, 0, 1 << 20, 'base');
  await lv('lvcreate', '-s', '-n', 'first', `${GROUP}/vol`);
  await copyDevice(lab.volume, target);
  await writeRandom(lab.volume, 2 << 20, 1 << 20, 'new');
});
afterEach(() => {
  writeFileSync(CONF, usual);
});

/** All volumes that there are. */
async function volumes(): Promise<string> {
  const names = await run(['lvs', '--noheadings', '-o', 'lv_name', GROUP]);
  return names.trim().split(/\s+/).sort().join(' ');
}

describe('if volume_list leaves out what a run makes', () => {
  it('the error names the thin volume in use, and says what helps', async () => {
    const user = openSync(lab.volume, 'r');
    try {
      list(...USERS_OWN);
      for (const words of [
        [`${GROUP}/first`, target],
        ['copy', `${GROUP}/vol`, target],
        ['--scan', `${GROUP}/vol`, target],
      ]) {
        const said = await expectFailure(
          [...words, ...STATE],
          4,
          /vg-listed\/vol: in use, so lvmsync reads it from a temporary snapshot; LVM created it but did not activate it, most likely because volume_list .*: add "@lvmsync.temporary" to that list/,
        );
        expect(said).not.toMatch(/lvmsync-tmp/);
      }
      expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
      list(...USERS_OWN, '@lvmsync.temporary');
      await runLvmsync(`${GROUP}/first`, target, ...STATE);
      await expectSameBytes(target, lab.volume);
      expect(await lab.leftOvers()).toEqual(NOTHING_LEFT);
    } finally {
      closeSync(user);
    }
  });

  it.each([[['--create']], [['--create-thin', 'pool']]])('a volume made by copy %j', async (how) => {
    list(...USERS_OWN);
    const before = await volumes();
    const words = ['copy', target, `${GROUP}/made`, ...how, ...STATE];
    const said = await expectFailure(
      words,
      12,
      /vg-listed\/made: LVM created it but did not activate it.*add "@lvmsync.partial" and "vg-listed\/made" to that list/,
    );
    expect(said).not.toMatch(/\.partial:|udev/);
    expect(await volumes()).toBe(before);
    list(...USERS_OWN, '@lvmsync.partial', `${GROUP}/made`);
    await runLvmsync(...words);
    await expectSameBytes(`/dev/${GROUP}/made`, target);
    await run(['lvremove', '-qq', '-f', '-y', `${GROUP}/made`]);
  });

  it('the error about a view’s store names the volume of the view', async () => {
    const now = seededBytes('now', 32 << 20);
    const then = Buffer.from(now).fill(7, 4096, 8192);
    await writeBytes(target, 0, now);
    await writeUndo('/run/listed-undo', then, now, { base: 'now', result: 'then' });
    const words = ['view', 'open', 'past', target, '/run/listed-undo', '--force', 'base', ...STATE];
    list(...USERS_OWN);
    const before = await volumes();
    await expectFailure(
      words,
      3,
      /vg-listed\/target: its view needs the volume vg-listed\/past for its store: LVM created it but did not activate it.*add "@lvmsync.view" to that list/,
    );
    expect(await volumes()).toBe(before);
    list(...USERS_OWN, '@lvmsync.view');
    await runLvmsync(...words);
    await runLvmsync('view', 'close', 'past', ...STATE);
  });

  it('the doctor warns of it, and is satisfied if the tags, or the group, are in the list', async () => {
    list(...USERS_OWN);
    expect((await lvmsync(['doctor'])).stdout).toMatch(
      /warning +activation: .*volume_list names: .*\n +→ what lvmsync makes in vg-listed stays inactive.*"@lvmsync.partial", "@lvmsync.temporary", "@lvmsync.view"/,
    );
    for (const entries of [
      [GROUP],
      [...USERS_OWN, '@lvmsync.partial', '@lvmsync.temporary', '@lvmsync.view'],
    ]) {
      list(...entries);
      expect((await lvmsync(['doctor'])).stdout).toMatch(/ok +activation: .*volume_list/);
    }
    writeFileSync(CONF, usual);
    expect((await lvmsync(['doctor'])).stdout).not.toMatch(/activation:/);
  });
});
