import type { HostSelf } from '../../../src/doctor/examine-host.js';
import { CommandError } from '../../../src/errors.js';
import type { CommandResult, Spawner } from '../../../src/host/spawner.js';

/** A process of root's, as a doctor sees its own. */
export const ROOT: HostSelf = {
  node: '20.19.0',
  program: '/usr/bin/lvmsync',
  user: 'root',
  isRoot: true,
  udev: 'listens',
  otherStateDirs: [],
};

/** Programs that say this, by their words; all others are not installed. */
export function programs(answers: Readonly<Record<string, Partial<CommandResult>>>): Spawner {
  return {
    run: (argv) => {
      const answer = answers[argv.join(' ')] ?? answers[argv[0]];
      if (answer === undefined) return Promise.reject(new CommandError(argv, 'is not installed'));
      return Promise.resolve({ status: 0, stdout: '', stderr: '', ...answer });
    },
    start: () => {
      throw new Error('nothing is started here');
    },
  };
}

/** Active ones, with their nodes; the third of them inactive. */
export function volumes(...paths: readonly string[]): string {
  const rest = { lv_full_name: 'vg/x', lv_uuid: 'u', vg_uuid: 'v', lv_attr: '-wi-a-----', lv_merging: '' };
  const empty = { lv_tags: '', data_percent: '', metadata_percent: '' };
  const rows = paths.map((path, index) => ({
    ...{ lv_path: path, lv_active: index === 2 ? '' : 'active' },
    ...rest,
    ...empty,
  }));
  return JSON.stringify({ report: [{ lv: rows }] });
}

/** Volume groups by their names and UUIDs. */
export function groups(...rows: readonly (readonly [string, string])[]): string {
  const vg = rows.map(([name, uuid]) => ({ vg_name: name, vg_uuid: uuid }));
  return JSON.stringify({ report: [{ vg }] });
}

export const GOOD = {
  'lvm version': { stdout: '  LVM version:     2.03.16(2) (2022-05-18)\n' },
  lvs: { stdout: volumes('/dev/null', '/dev/zero') },
  vgs: { stdout: groups(['vg', 'uuid-1'], ['other', 'uuid-2']) },
  lvmconfig: { stdout: 'udev_sync=1\nudev_rules=1\n' },
  'dmsetup version': { stdout: 'Library version:   1.02.185\nDriver version:    4.47.0\n' },
  'dmsetup targets': { stdout: 'snapshot         v1.16.0\nthin             v1.22.0\n' },
  'thin_delta -V': { stdout: '0.9.0\n' },
};
