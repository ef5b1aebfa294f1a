import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { StateRecord } from '../../src/targets/state-record.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { runWords } from '../support/run-program.js';
import { waitUntil } from './support/devices.js';
import { HOSTILE_SETTINGS } from './support/hostile-settings.js';
import { createSnapshot, createVolume, digestOf, run, seededBytes, writeBytes } from './support/lab.js';
import { writeUndo } from './support/undo-archive.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-settings';
const CONF = '/etc/lvm/lvm.conf';
const FOLDER = '/run/settings';
const SIZE = 4 << 20;

const usual = readFileSync(CONF, 'utf8');
const old = seededBytes('old', SIZE);
const present = Buffer.from(old);
seededBytes('new', 65_536).copy(present, 1 << 20);

let origin = '';
let target = '';
let oldDigest = '';
let presentDigest = '';
let inspected = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  mkdirSync(`${FOLDER}/archives`, { recursive: true });
  origin = await createVolume(GROUP, 'origin', '4M');
  target = await createVolume(GROUP, 'target', '4M');
  await writeBytes(origin, 0, old);
  await createSnapshot(GROUP, 'origin', 'snap', { size: '4M', permission: 'r' });
  await writeBytes(origin, 1 << 20, present.subarray(1 << 20, (1 << 20) + 65_536));
  await writeUndo(`${FOLDER}/archives/undo`, old, present, { base: 'new', result: 'old' });
  await writeBytes(target, 0, old);
  [oldDigest, presentDigest] = [await digestOf(target), await digestOf(origin)];
  inspected = (await succeed('inspect', `${GROUP}/snap`, '--json')).stdout.toString();
});
afterEach(() => {
  writeFileSync(CONF, usual);
});
afterAll(() => {
  rmSync(FOLDER, { recursive: true });
  rmSync('/run/lvm.log', { force: true });
});

async function succeed(...words: readonly string[]) {
  const outcome = await runWords(words);
  expect({ status: outcome.status, said: outcome.said }).toMatchObject({ status: 0 });
  return outcome;
}

async function recordNew(stateDir: string): Promise<void> {
  const { key, realPath, number } = await targetKeyOf(target);
  const folder = path.join(stateDir, 'targets', key);
  mkdirSync(folder, { recursive: true });
  const record = new StateRecord(folder, { path: realPath, number });
  await record.write({ is: 'exactly', identity: 'new', from: null });
}

/** What LVM itself says, whatever its settings are. */
async function volumes(): Promise<string> {
  writeFileSync(CONF, usual);
  const names = await run(['lvs', '-a', '--noheadings', '-o', 'lv_name', GROUP]);
  return names.trim().split(/\s+/).sort().join(' ');
}

function set(...settings: readonly string[]): void {
  writeFileSync(CONF, [usual, ...settings, ''].join('\n'));
}

describe.each(HOSTILE_SETTINGS)('if lvm.conf asks for $name', ({ settings }) => {
  it('a snapshot is inspected, and an unknown name is reported as such', async () => {
    set(settings);
    expect((await succeed('inspect', `${GROUP}/snap`, '--json')).stdout.toString()).toBe(inspected);
    for (const nothing of [`${GROUP}/nix`, 'no-group/nix']) {
      const { status, said } = await runWords(['inspect', nothing]);
      expect([status, said.join('\n')]).toEqual([
        4,
        expect.stringMatching(/no such device or logical volume/),
      ]);
    }
  });
});

describe.each(['reports', 'JSON', 'logs'] as const)(
  'if lvm.conf asks for everything that changes %s',
  (group) => {
    const stateDir = `${FOLDER}/${group}`;
    const state = ['--state-dir', stateDir] as const;
    const settings = HOSTILE_SETTINGS.filter((each) => each.group === group).map((each) => each.settings);

    it('changes are sent', async () => {
      await writeBytes(target, 0, old);
      set(...settings);
      await succeed(`${GROUP}/snap`, target, ...state);
      expect(await digestOf(target)).toBe(presentDigest);
    });

    it('a volume is made', async () => {
      set(...settings);
      await succeed('copy', `${GROUP}/snap`, `${GROUP}/made`, '--create', ...state);
      expect(await digestOf(`/dev/${GROUP}/made`)).toBe(oldDigest);
      expect(await volumes()).toBe('made origin snap target');
      await run(['lvremove', '-qq', '-f', '-y', `${GROUP}/made`]);
      expect(await volumes()).toBe('origin snap target');
    });

    it('a view is opened and closed, and the volume is taken back at once', async () => {
      await writeBytes(target, 0, present);
      await recordNew(stateDir);
      set(...settings);
      await succeed('view', 'open', 'past', target, `${FOLDER}/archives/undo`, ...state);
      expect(await digestOf(`/dev/${GROUP}/past`)).toBe(oldDigest);
      await succeed('view', 'close', 'past', ...state);
      await succeed('restore', target, '--to', 'old', '--from', `${FOLDER}/archives`, ...state, '--instant');
      expect(await digestOf(target)).toBe(oldDigest);
      await waitUntil('LVM has tidied up', async () => (await volumes()) === 'origin snap target');
    });
  },
);
