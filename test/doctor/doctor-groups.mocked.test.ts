import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { CommandResult, Spawner } from '../../src/host/spawner.js';
import { withoutSettings } from '../support/lvm-words.js';
import { quietSurroundings } from '../support/surroundings.js';

/** What device-mapper has, by sysfs. */
const mapped = vi.hoisted(() => ({ devices: [] as { name: string; uuid: string }[] }));
vi.mock('../../src/doctor/examine-devices.js', () => ({
  listMappedDevices: () => Promise.resolve(mapped.devices),
}));
const { examineGroups, readVolumes } = await import('../../src/doctor/examine-groups.js');

interface Answer extends CommandResult {
  readonly words: readonly string[];
}
type Recorded = Readonly<Record<string, readonly Answer[]>>;

afterEach(() => {
  mapped.devices = [];
});

// Recorded by doctor-answers/record.ts, from the real programs.
describe.each(['2.03.16', '2.03.31'])('a doctor of a host with LVM %s', (version) => {
  const file = path.join(import.meta.dirname, `doctor-answers/${version}.json`);
  const recording = JSON.parse(readFileSync(file, 'utf8')) as { version: string; recorded: Recorded };

  function replay(scene: string): Spawner {
    return {
      run: (argv) => {
        const words = withoutSettings(argv).join(' ');
        const answer = recording.recorded[scene]?.find((each) => each.words.join(' ') === words);
        if (answer === undefined) throw new Error(`${scene}: nobody asked ${words}`);
        return Promise.resolve(answer);
      },
      start: () => {
        throw new Error('nothing is started here');
      },
    };
  }

  async function examine(scene: string) {
    const env = quietSurroundings(replay(scene));
    return await examineGroups(await readVolumes(env), env);
  }

  it('is the version that was recorded', () => {
    expect(recording.version).toBe(version);
  });

  it('finds nothing if nothing is wrong', async () => {
    expect(await examine('nothing wrong')).toEqual([]);
  });

  it('reports a snapshot and a thin pool that are nearly full, and that nothing watches them', async () => {
    expect(await examine('nearly full')).toEqual([
      {
        check: 'thin pools',
        verdict: 'warning',
        text: 'the thin pool vg/pool is 87.50 % full',
        advice: 'once it is full its volumes fail: extend it in time (lvextend -L +SIZE vg/pool)',
      },
      {
        check: 'snapshots',
        verdict: 'warning',
        text: 'the snapshot vg/snap is 87.94 % full',
        advice:
          'once it is full it is lost, and with it the record of what changed: extend it in time (lvextend -L +SIZE vg/snap)',
      },
      {
        check: 'monitoring',
        verdict: 'warning',
        text: 'nothing watches how full vg/pool, vg/snap gets: lvm.conf says monitoring=0',
        advice: expect.stringMatching(/set monitoring=1 in lvm\.conf, then "vgchange --monitor y"/) as string,
      },
    ]);
  });

  it('reports a snapshot that overflowed', async () => {
    expect(await examine('overflowed')).toContainEqual({
      check: 'snapshots',
      verdict: 'problem',
      text: 'the snapshot vg/snap overflowed: it is lost',
      advice: expect.stringMatching(/^remove it \(lvremove vg\/snap\), .*lvmsync --scan/) as string,
    });
  });

  it('reports merges that wait, also into a thin volume', async () => {
    expect(await examine('merges wait')).toContainEqual({
      check: 'merges',
      verdict: 'warning',
      text: expect.stringMatching(
        /^LVM merges a snapshot into vg\/thin, vg\/vm, or will do so once it is closed: .* refuses it as a target$/,
      ) as string,
      advice: expect.stringMatching(/lvchange --refresh --poll y/) as string,
    });
  });

  it('reports what lvm.conf limits, and what it changes', async () => {
    const found = await examine('settings');
    expect(found).toContainEqual({
      check: 'filters',
      verdict: 'ok',
      text: 'lvm.conf limits the disks that LVM looks at: devices/filter="a|/dev/ubd.*|"',
      advice: null,
    });
    expect(found).toContainEqual({
      check: 'auto-activation',
      verdict: 'warning',
      text: expect.stringMatching(/^at boot LVM only activates auto_activation_volume_list="vg": /) as string,
      advice: expect.stringMatching(/activate them before a run \(lvchange -ay\)/) as string,
    });
    expect(found).toContainEqual({
      check: 'lvm.conf',
      verdict: 'ok',
      text: 'lvm.conf changes what LVM prints (report/output_format, report/compact_output, log/prefix, log/command_names, global/units); lvmsync uses its own settings instead',
      advice: null,
    });
  });

  it('reports volumes that a filter hides', async () => {
    const shown = recording.recorded['hidden']?.find(({ words }) => words[0] === 'vgs')?.stdout ?? '';
    const [, uuid = ''] = /"vg_uuid":"([^"]+)"/.exec(shown) ?? [];
    mapped.devices = [
      { name: 'vg-vm', uuid: `LVM-${uuid.replaceAll('-', '')}${'x'.repeat(32)}` },
      { name: 'other-data', uuid: `LVM-${'y'.repeat(64)}` },
      { name: 'crypt', uuid: 'CRYPT-LUKS2-1-x' },
    ];
    expect(await examine('hidden')).toContainEqual({
      check: 'hidden volumes',
      verdict: 'problem',
      text: expect.stringMatching(
        /^LVM made \/dev\/mapper\/other-data but does not show the volume group \(lvm\.conf sets devices\/filter\); .*refuses such targets$/,
      ) as string,
      advice: expect.stringMatching(/^let LVM see the disks: .*devices file \(lvmdevices\)/) as string,
    });
  });

  it('reports a group that other hosts share, and one that is exported', async () => {
    expect(await examine('shared')).toContainEqual({
      check: 'shared groups',
      verdict: 'warning',
      text: expect.stringMatching(
        /^other hosts may write to the volumes of other .*cannot tell whether a target there was written/,
      ) as string,
      advice: expect.stringMatching(/lvmsync verify/) as string,
    });
    expect(await examine('exported')).toContainEqual({
      check: 'exported groups',
      verdict: 'warning',
      text: 'other: exported, so its volumes cannot be used',
      advice: 'to use it on this host: vgimport GROUP',
    });
  });
});

it('an LVM that does not list its groups is a problem', async () => {
  const silent: Spawner = {
    run: () =>
      Promise.resolve({ status: 5, stdout: '', stderr: 'no', gaveUp: 'timed out waiting for the lock x' }),
    start: () => {
      throw new Error('nothing is started here');
    },
  };
  expect(await examineGroups([], quietSurroundings(silent))).toMatchObject([
    {
      check: 'groups',
      verdict: 'problem',
      text: expect.stringMatching(/timed out waiting for the lock x/) as string,
    },
  ]);
});
