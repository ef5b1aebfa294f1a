import { readdir, readFile } from 'node:fs/promises';
import { countOf } from '../bytes/amounts.js';
import { CommandError } from '../errors.js';
import { isThere } from '../host/durable-file.js';
import type { Surroundings } from '../host/surroundings.js';
import { UDEV_ADVICE } from '../host/udev.js';
import { PARTIAL_TAG } from '../lvm/create-volume.js';
import { readChangedSettings, type ChangedSettings } from '../lvm/lvm-settings.js';
import {
  isMerging,
  listAllGroups,
  listAllVolumes,
  type LvsRow,
  adviseRename,
  describeSameName,
  listGroups,
  type GroupRow,
} from '../lvm/lvs.js';
import { askLvm } from '../lvm/run-lvm.js';
import { STORE_TAG } from '../snapshots/store-volume.js';
import { TEMPORARY_TAG } from '../snapshots/temporary-snapshot.js';
import { listMappedDevices } from './examine-devices.js';
import { listNames, ok, problem, warning, type Finding } from './finding.js';

const VOLUME_COLUMNS = [
  ...(['lv_full_name', 'lv_path', 'lv_uuid', 'vg_uuid', 'lv_active', 'lv_attr', 'lv_merging'] as const),
  ...(['lv_tags', 'data_percent', 'metadata_percent'] as const),
] as const;
const GROUP_COLUMNS = [
  ...(['vg_name', 'vg_uuid', 'vg_partial', 'vg_exported', 'vg_clustered', 'vg_shared'] as const),
  'vg_systemid',
] as const;

/** What LVM shows of a logical volume, as far as the doctor needs it. */
export type VolumeRow = LvsRow<(typeof VOLUME_COLUMNS)[number]>;
export type ExaminedGroup = LvsRow<(typeof GROUP_COLUMNS)[number]>;

/** A transfer also warns from this level on. Percent. */
const NEARLY_FULL = 80;
/** The settings in lvm.conf for reports and logs: they change what LVM prints. */
const CHANGES_ANSWERS = /^(report\/|log\/|global\/(units|suffix|si_unit_consistency)$)/;
const FILTERS = ['devices/filter', 'devices/global_filter', 'devices/use_devicesfile'] as const;

/** Whether udevd listens here; 'off' if the environment tells LVM not to use udev. */
export type UdevPresence = 'listens' | 'absent' | 'off';

/** All volumes that LVM shows. Throws CommandError if LVM does not answer. */
export async function readVolumes({ spawner }: Pick<Surroundings, 'spawner'>): Promise<VolumeRow[]> {
  return await listAllVolumes(spawner, VOLUME_COLUMNS);
}

/**
 * Who makes the nodes of LVM's devices, and whether they are there. Throws CommandError.
 *
 * @param isNamed whether a volume may be named
 */
export async function examineNodes(
  udev: UdevPresence,
  volumes: readonly VolumeRow[],
  isNamed: boolean,
  env: Surroundings,
): Promise<Finding> {
  const check = 'device nodes';
  const active = volumes.filter((each) => each.lv_active !== '' && each.lv_path !== '');
  const missing: string[] = [];
  for (const { lv_path: path } of active) if (!(await isThere(path))) missing.push(path);
  const settings = ['activation/udev_sync', 'activation/udev_rules'] as const;
  const { stdout } = await askLvm(env.spawner, ['lvmconfig', '--type', 'full', ...settings]);
  const isLeftToUdev = udev !== 'off' && /udev_(sync|rules)=1/.test(stdout);
  const who = isLeftToUdev ? 'LVM leaves them to udev' : 'LVM makes them itself';
  if (missing.length > 0) {
    const example = isNamed ? `, such as ${missing[0] ?? ''}` : '';
    const text = `${missing.length} of ${countOf(active.length, 'active volume')} have none${example}; ${who}`;
    return problem(check, text, UDEV_ADVICE);
  }
  if (!isLeftToUdev || udev === 'listens') return ok(check, who);
  return warning(check, `${who}, which does not run here: new volumes will have none`, UDEV_ADVICE);
}

/** Finds LVM settings, groups and volumes that prevent a transfer, or make its result uncertain. */
export async function examineGroups(volumes: readonly VolumeRow[], env: Surroundings): Promise<Finding[]> {
  try {
    const settings = await readChangedSettings(env.spawner);
    const groups = await listAllGroups(env.spawner, GROUP_COLUMNS);
    return [
      ...(await findHidden(groups, settings)),
      ...findShared(groups),
      ...findPartial(groups),
      ...findLimits(settings),
      ...findMerges(volumes),
      ...findFull(volumes),
      ...(await findUnwatched(volumes, settings)),
    ];
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return [problem('groups', error.message, 'run as root; check the output of "vgs" and "lvmconfig"')];
  }
}

/** Volumes that are active, in groups that LVM does not show: whether a merge waits for one cannot be asked. */
async function findHidden(groups: readonly ExaminedGroup[], settings: ChangedSettings): Promise<Finding[]> {
  const shown = new Set(groups.map((each) => each.vg_uuid.replaceAll('-', '')));
  const devices = await listMappedDevices();
  const hidden = devices.filter(({ uuid }) => uuid.startsWith('LVM-') && !shown.has(uuid.slice(4, 36)));
  const filters = FILTERS.filter((name) => settings.has(name));
  if (hidden.length === 0 && filters.length === 0) return [];
  if (hidden.length === 0) {
    const values = filters.map((name) => `${name}=${settings.get(name) ?? ''}`).join(', ');
    return [ok('filters', `lvm.conf limits the disks that LVM looks at: ${values}`)];
  }
  const names = listNames(hidden.map(({ name }) => `/dev/mapper/${name}`));
  const why = filters.length === 0 ? '' : ` (lvm.conf sets ${filters.join(', ')})`;
  return [
    problem(
      'hidden volumes',
      `LVM made ${names} but does not show the volume group${why}; whether a merge is waiting there is unknown, so lvmsync refuses such targets`,
      'let LVM see the disks: check filter and global_filter in lvm.conf, the devices file (lvmdevices), and what "vgs" says about clustered groups',
    ),
  ];
}

/** Groups that other hosts may write to. No count of this kernel sees what they write. */
function findShared(groups: readonly ExaminedGroup[]): Finding[] {
  const shared = groups.filter((each) => each.vg_shared !== '' || each.vg_clustered !== '');
  if (shared.length === 0) return [];
  const names = listNames(shared.map((each) => each.vg_name));
  return [
    warning(
      'shared groups',
      `other hosts may write to the volumes of ${names} (a shared or clustered group), and this host's kernel does not count their writes: lvmsync cannot tell whether a target there was written since its last run`,
      'activate a target on one host only (lvchange -aey), and compare it from time to time (lvmsync verify)',
    ),
  ];
}

function findPartial(groups: readonly ExaminedGroup[]): Finding[] {
  const findings: Finding[] = [];
  const partial = groups.filter((each) => each.vg_partial !== '').map((each) => each.vg_name);
  if (partial.length > 0) {
    findings.push(
      problem(
        'missing disks',
        `${listNames(partial)}: LVM does not find all of its disks`,
        'bring the disks back, or let LVM see them: check filter and global_filter in lvm.conf, and the devices file (lvmdevices)',
      ),
    );
  }
  const exported = groups.filter((each) => each.vg_exported !== '').map((each) => each.vg_name);
  if (exported.length > 0) {
    const text = `${listNames(exported)}: exported, so its volumes cannot be used`;
    findings.push(warning('exported groups', text, 'to use it on this host: vgimport GROUP'));
  }
  return findings;
}

/** Settings of lvm.conf that affect a transfer. */
function findLimits(settings: ChangedSettings): Finding[] {
  const findings: Finding[] = [];
  const atBoot = settings.get('activation/auto_activation_volume_list');
  if (atBoot !== undefined) {
    findings.push(
      warning(
        'auto-activation',
        `at boot LVM only activates auto_activation_volume_list=${atBoot}: after a reboot other targets have no device`,
        'add the volume groups of your targets, or activate them before a run (lvchange -ay)',
      ),
    );
  }
  const printed = [...settings.keys()].filter((name) => CHANGES_ANSWERS.test(name));
  if (printed.length > 0) {
    const text = `lvm.conf changes what LVM prints (${listNames(printed)}); lvmsync uses its own settings instead`;
    findings.push(ok('lvm.conf', text));
  }
  return findings;
}

/** Merges in progress, or waiting until the volume is closed: they overwrite what a transfer writes. */
function findMerges(volumes: readonly VolumeRow[]): Finding[] {
  const names = volumes.filter(isMerging).map((each) => each.lv_full_name);
  if (names.length === 0) return [];
  return [
    warning(
      'merges',
      `LVM merges a snapshot into ${listNames(names)}, or will do so once it is closed: what is written there until then is lost, so lvmsync refuses it as a target`,
      'close the volume, let LVM begin (lvchange --refresh --poll y VG/LV), and wait until "lvs -a" shows no merge any more',
    ),
  ];
}

/** Snapshots and thin pools that are full, or nearly. */
function findFull(volumes: readonly VolumeRow[]): Finding[] {
  return volumes.flatMap(({ lv_full_name: name, lv_attr: attr, data_percent, metadata_percent }) => {
    const isPool = attr.startsWith('t');
    if (!isPool && !/^s/i.test(attr)) return [];
    if (attr[4] === 'I') {
      const text = `the snapshot ${name} overflowed: it is lost`;
      const advice = `remove it (lvremove ${name}), compare both volumes once (lvmsync --scan), and make the next one larger`;
      return [problem('snapshots', text, advice)];
    }
    const parts = [
      [isPool ? `the thin pool ${name}` : `the snapshot ${name}`, data_percent, '-L +SIZE'],
      [`the metadata of the thin pool ${name}`, isPool ? metadata_percent : '', '--poolmetadatasize +SIZE'],
    ] as const;
    return parts
      .filter(([, percent]) => Number(percent) >= NEARLY_FULL)
      .map(([what, percent, option]) => {
        const then = isPool ? 'its volumes fail' : 'it is lost, and with it the record of what changed';
        const advice = `once it is full ${then}: extend it in time (lvextend ${option} ${name})`;
        return warning(isPool ? 'thin pools' : 'snapshots', `${what} is ${percent} % full`, advice);
      });
  });
}

/** Snapshots and pools that no daemon extends, or warns about, when they fill up. */
async function findUnwatched(volumes: readonly VolumeRow[], settings: ChangedSettings): Promise<Finding[]> {
  const watched = volumes.filter(({ lv_attr: attr, lv_active }) => /^[st]/i.test(attr) && lv_active !== '');
  if (watched.length === 0) return [];
  const isOff = settings.get('activation/monitoring') === '0';
  if (!isOff && (await isRunning('dmeventd'))) return [];
  const why = isOff ? 'lvm.conf says monitoring=0' : 'dmeventd does not run';
  return [
    warning(
      'monitoring',
      `nothing watches how full ${listNames(watched.map((each) => each.lv_full_name))} gets: ${why}`,
      `check "lvs" yourself, or ${isOff ? 'set monitoring=1 in lvm.conf' : 'install and start dmeventd'}, then "vgchange --monitor y"; it extends them where snapshot_autoextend_threshold and thin_pool_autoextend_threshold are below 100`,
    ),
  ];
}

async function isRunning(program: string): Promise<boolean> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    if ((await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim() === program) return true;
  }
  return false;
}

/** What marks the volumes that runs make: for a copy, for a thin volume in use, for a view. */
const OWN_TAGS = [PARTIAL_TAG, TEMPORARY_TAG, STORE_TAG];

/** What makes LVM refuse volumes that exist, or that a run makes. Throws CommandError. */
export async function examineVolumes(env: Surroundings): Promise<Finding[]> {
  const groups = await listGroups(env.spawner);
  return [judgeNames(groups), ...(await examineActivation(groups, env))];
}

function judgeNames(groups: readonly GroupRow[]): Finding {
  const check = 'volume groups';
  for (const { vg_name: name } of groups) {
    const same = groups.filter((each) => each.vg_name === name);
    if (same.length > 1) return problem(check, describeSameName(same), adviseRename(same));
  }
  return ok(check, `${groups.length}, each with a name of its own`);
}

async function examineActivation(groups: readonly GroupRow[], { spawner }: Surroundings): Promise<Finding[]> {
  const words = ['lvmconfig', '--type', 'full', 'activation/volume_list'] as const;
  const list = /^volume_list=(.*)$/m.exec((await askLvm(spawner, words)).stdout)?.[1];
  if (list === undefined) return [];
  const text = `lvm.conf lets LVM activate only what volume_list names: ${list}`;
  const lacks = (entry: string) => !list.includes(`"${entry}"`);
  const tags = OWN_TAGS.map((tag) => `@${tag}`).filter(lacks);
  const outside = groups.map((each) => each.vg_name).filter(lacks);
  if (tags.length === 0 || outside.length === 0) return [ok('activation', text)];
  const added = tags.map((tag) => `"${tag}"`).join(', ');
  const advice = `what lvmsync makes in ${outside.join(', ')} stays inactive, and is of no use: add ${added} to that list`;
  return [warning('activation', text, advice)];
}
