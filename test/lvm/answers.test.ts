import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CommandError } from '../../src/errors.js';
import type { CommandResult, Spawner } from '../../src/host/spawner.js';
import {
  findLogicalVolume,
  findDevice,
  findVolume,
  listAllVolumes,
  lookUpVolume,
} from '../../src/lvm/lvs.js';
import { HOSTILE_SETTINGS } from '../kernel/support/hostile-settings.js';
import { withoutSettings } from '../support/lvm-words.js';

interface Answer extends CommandResult {
  readonly words: readonly string[];
}
interface Recording {
  readonly version: string;
  readonly recorded: Readonly<Record<string, readonly Answer[]>>;
}

const COLUMNS = ['lv_full_name', 'lv_size', 'lv_active', 'lv_tags'] as const;
const VM = { lv_full_name: 'vg/vm', lv_size: '16777216', lv_active: 'active', lv_tags: 'a,b' };

function recordingOf(version: string): Recording {
  return JSON.parse(
    readFileSync(path.join(import.meta.dirname, `answers/${version}.json`), 'utf8'),
  ) as Recording;
}

/** What LVM answered in a scene: the same again to the same words, and to no others. */
function replay({ recorded }: Recording, scene: string): Spawner {
  return {
    run: (argv) => {
      const words = withoutSettings(argv).join(' ');
      const answer = recorded[scene]?.find((each) => each.words.join(' ') === words);
      if (answer === undefined) throw new Error(`${scene}: nobody asked ${words}`);
      return Promise.resolve(answer);
    },
    start: () => {
      throw new Error('nothing is started here');
    },
  };
}

/** The first answer of a scene, to whatever is asked. */
function always({ recorded }: Recording, scene: string): Spawner {
  const answer = recorded[scene]?.[0];
  if (answer === undefined) throw new Error(`no ${scene}`);
  return { ...replay({ version: '', recorded }, scene), run: () => Promise.resolve(answer) };
}

// Recorded by answers/record.ts, from the real programs.
describe.each(['2.03.16', '2.03.31'])('LVM %s', (version) => {
  const recording = recordingOf(version);
  const scenes = ['', ...HOSTILE_SETTINGS.map(({ name }) => `${name}: `)];

  it('is the version that was recorded', () => {
    expect(recording.version).toBe(version);
  });

  it.each(scenes)('with settings "%s" reports a volume, no volume, and no group', async (scene) => {
    expect(await lookUpVolume(replay(recording, `${scene}a volume`), COLUMNS, 'vg/vm')).toEqual(VM);
    expect(await lookUpVolume(replay(recording, `${scene}no such volume`), COLUMNS, 'vg/nix')).toBeNull();
    const noGroup = replay(recording, `${scene}no such group`);
    expect(await findVolume(noGroup, COLUMNS, 'nix/vm')).toBeNull();
    await expect(lookUpVolume(noGroup, COLUMNS, 'nix/vm')).rejects.toThrow(
      /does not see the volume group nix, .* nix\/vm still exists: bring its disks back/,
    );
  });

  it('prints its answer among other output, and it is found', async () => {
    const talkative = recording.recorded['many words: no such group']?.[0];
    if (talkative === undefined) throw new Error('not recorded');
    const spawner = { ...replay(recording, ''), run: () => Promise.resolve({ ...talkative, stdout: '' }) };
    await expect(findVolume(spawner, COLUMNS, 'nix/vm')).rejects.toThrow(/Volume group "nix" not found/);
  });

  it('that may not be asked does not count as having no volumes', async () => {
    for (const [scene, name] of [
      ['no right', 'vg/vm'],
      ['no right, no such group', 'nix/vm'],
    ] as const) {
      const asking = findVolume(replay(recording, scene), COLUMNS, name);
      await expect(asking).rejects.toThrow(CommandError);
      await expect(asking).rejects.toThrow(/permission denied: run lvmsync as root/);
    }
  });

  it('with a missing disk still lists its volumes', async () => {
    const away = replay(recording, 'a disk is away: a volume');
    expect(await lookUpVolume(away, COLUMNS, 'two/away')).toMatchObject({ lv_full_name: 'two/away' });
    const none = replay(recording, 'a disk is away: no such volume');
    expect(await lookUpVolume(none, COLUMNS, 'two/nix')).toBeNull();
  });

  it.each([
    ['an exported group', 'two/away', /two is exported/],
    [
      'two groups of one name',
      'vg/vm',
      /^lvs vg: 2 volume groups are called vg, so .*: rename one of them by its UUID \(vgrename UUID NEWNAME; the UUIDs are \S{38} and \S{38}\)/,
    ],
    ['another system’s group', 'vg/away', /system ID other/],
  ])('does not look into %s, which is not an answer', async (scene, name, message) => {
    const asking = findVolume(replay(recording, scene), COLUMNS, name);
    await expect(asking).rejects.toThrow(CommandError);
    await expect(asking).rejects.toThrow(message);
  });

  it('that hides one of its devices does not say what it is', async () => {
    const hidden = replay(recording, 'all is hidden');
    expect(await findVolume(hidden, COLUMNS, 'vg/vm')).toBeNull();
    await expect(findDevice(hidden, COLUMNS, 'vg-vm')).rejects.toThrow(
      /LVM made this device, but does not list it now: check LVM's filters/,
    );
  });

  it('counts its volumes', async () => {
    const all = await listAllVolumes(replay(recording, 'all volumes'), ['lv_path', 'lv_active']);
    expect(all).toEqual([{ lv_path: '/dev/vg/vm', lv_active: 'active' }]);
  });

  it.each([
    ['plain: no such volume', /Failed to find logical volume "vg\/nix"/],
    ['plain: no such group', /Volume group "nix" not found/],
    ['plain: no right', /run lvmsync as root/],
  ])('that logs anywhere is understood: %s', async (scene, message) => {
    await expect(findVolume(always(recording, scene), COLUMNS, 'vg/nix')).rejects.toThrow(message);
  });
});

describe('asking LVM', () => {
  const answering = (result: Partial<CommandResult>) => {
    const asked: { argv: readonly string[]; options: unknown }[] = [];
    const run: Spawner['run'] = (argv, options) => {
      asked.push({ argv, options });
      return Promise.resolve({ stdout: '', stderr: '', status: 0, ...result });
    };
    return { ...replay({ version: '', recorded: {} }, ''), run, asked };
  };

  it('uses our own settings, without the variables that would change its answer', async () => {
    const spawner = answering({ stdout: '{"report": [{"lv": []}]}' });
    await findVolume(spawner, COLUMNS, 'vg/vm');
    const [{ argv, options } = { argv: [] }] = spawner.asked;
    expect(argv.slice(0, 2)).toEqual(['lvs', '--config']);
    expect(argv[2]).toMatch(
      /report_command_log=0.*output_format="json".*binary_values_as_numeric=0.*units="b"/,
    );
    expect(argv.slice(-4)).toEqual(['--select', 'lv_name="vm"', '--', 'vg']);
    expect(options).toMatchObject({
      watch: 'question',
      environment: { LVM_SUPPRESS_FD_WARNINGS: '1', LVM_REPORT_FD: undefined, LVM_VG_NAME: undefined },
    });
  });

  it.each([
    [{ stdout: '{"report": 1}' }, /not in the format that LVM documents/],
    [{ stdout: 'oops' }, /not in the format that LVM documents/],
    [{ stdout: '{"report": [{"lv": [{"lv_full_name": "vg/lv"}]}]}' }, /not in the format that LVM documents/],
    [{ status: 5, stderr: 'lock failed' }, /LVM did not answer: lock failed/],
    [{ status: 5, gaveUp: 'timed out waiting for a lock' }, /^lvs .*: timed out waiting for a lock$/],
  ])('fails with a reason, which does not show those settings: %o', async (result, message) => {
    const asking = findLogicalVolume(answering(result), 'vg/lv');
    await expect(asking).rejects.toThrow(message);
    await expect(asking).rejects.not.toThrow(/--config/);
  });
});
