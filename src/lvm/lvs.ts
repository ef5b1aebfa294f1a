import * as v from 'valibot';
import { CommandError } from '../errors.js';
import type { CommandResult, Spawner } from '../host/spawner.js';
import { askLvm, wordsOf, type LvmWords } from './run-lvm.js';
/** A logical volume by its two names. */
export interface VolumeName {
  readonly group: string;
  readonly name: string;
}

/** The characters that LVM allows at the beginning of a name, and in it; `.` and `..` are excluded. */
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9_+.][A-Za-z0-9_+.-]*$/;

/**
 * The volume that `vg/lv`, `/dev/vg/lv` or `/dev/mapper/vg-lv` means; null if LVM can have no volume of that name. So
 * LVM is never asked for a name that it could take for something else, such as a group's.
 */
export function parseVolumeName(text: string): VolumeName | null {
  const mapped = /^\/dev\/mapper\/([^/]+)$/.exec(text)?.[1];
  const [group, name, ...rest] =
    mapped !== undefined ? splitMapperName(mapped) : text.replace(/^\/dev\//, '').split('/');
  if (group === undefined || name === undefined || rest.length > 0) return null;
  return NAME.test(group) && NAME.test(name) ? { group, name } : null;
}

/**
 * Device-mapper joins group, volume and, for LVM's internal devices, a layer with dashes, and doubles the dashes in
 * them.
 */
function splitMapperName(name: string): string[] {
  return name
    .replaceAll('--', '/')
    .split('-')
    .map((part) => part.replaceAll('/', '-'));
}

/** What LVM says about a logical volume, by column name; sizes in bytes, times in seconds since 1970. */
export type LvsRow<Column extends string> = Readonly<Record<Column, string>>;

type Rows = readonly Readonly<Record<string, string>>[];

const rowsSchema = v.array(v.record(v.string(), v.string()));
/** LVM 2.03.31 can log into its reports. Then its errors are there and not on stderr. */
const reportSchema = v.object({
  report: v.array(v.object({ lv: v.optional(rowsSchema), vg: v.optional(rowsSchema) })),
  log: v.optional(v.array(v.object({ log_type: v.string(), log_message: v.string() }))),
});

/**
 * Asks LVM for columns of a group's volumes, including hidden ones, whose field equals or contains a value. Null if
 * LVM does not see the group. Throws CommandError if LVM is missing, may not be asked, or fails.
 */
export async function listVolumes<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
  group: string,
  which: { readonly field: 'lv_name' | 'origin' | 'tags'; readonly value: string },
): Promise<LvsRow<Column>[] | null> {
  const select = `${which.field}="${which.value}"`;
  const words = ['lvs', '-a', '-o', columns.join(','), '--select', select, '--', group] as const;
  const result = await askLvm(spawner, words);
  if (result.status === 0) return readRows(words, result).map((row) => pick(words, row, columns));
  const failure = failureOf(words, result);
  if (result.gaveUp !== undefined) throw failure;
  // The messages cannot be relied on: a list without the group is an answer.
  const groups = await listGroups(spawner, group).catch((error: unknown) => {
    if (error instanceof CommandError) return null;
    throw error;
  });
  if (groups?.length === 0) return null;
  if (groups === null || groups.length === 1) throw failure;
  const problem = `${describeSameName(groups)}: ${adviseRename(groups)}`;
  throw new CommandError(['lvs', group], problem);
}

/**
 * The name and the UUID of each group that LVM sees, or of each group with a name. Includes groups of another system
 * and groups guarded by locks, whose volumes LVM does not show us. Throws CommandError if LVM does not answer.
 */
export async function listGroups(spawner: Spawner, name: string | null = null): Promise<GroupRow[]> {
  const which = name === null ? [] : ['--select', `vg_name="${name}"`];
  const words = ['vgs', '--foreign', '--shared', '-o', GROUP_COLUMNS.join(','), ...which] as const;
  const result = await askLvm(spawner, words);
  if (result.status !== 0) throw failureOf(words, result);
  return readRows(words, result).map((row) => pick(words, row, GROUP_COLUMNS));
}

const GROUP_COLUMNS = ['vg_name', 'vg_uuid'] as const;
/** What LVM says about a volume group. */
export type GroupRow = LvsRow<(typeof GROUP_COLUMNS)[number]>;

/** The problem with groups that share a name: LVM neither shows nor changes volumes by that name. */
export function describeSameName(groups: readonly GroupRow[]): string {
  return `${groups.length} volume groups are called ${groups[0]?.vg_name ?? ''}, so LVM cannot find a volume by that name`;
}

/** What to do about groups that share a name. */
export function adviseRename(groups: readonly GroupRow[]): string {
  const uuids = groups.map((each) => each.vg_uuid).join(' and ');
  return `rename one of them by its UUID (vgrename UUID NEWNAME; the UUIDs are ${uuids}), or hide its disks from LVM`;
}

/**
 * Asks for columns of one volume, by any name that LVM has for it; null if LVM has no volume of that name, or does not
 * see the group. Throws CommandError as `listVolumes`.
 */
export async function findVolume<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
  name: string,
): Promise<LvsRow<Column> | null> {
  const parsed = parseVolumeName(name);
  return parsed === null ? null : ((await rowsOf(spawner, columns, parsed))?.[0] ?? null);
}

/**
 * The same for `vg/lv`, if it matters whether the volume is gone. Null only if its group has no volume of that name:
 * when disks are missing, a group's volumes are not gone. Throws CommandError as `listVolumes`, and if LVM does not
 * see the group.
 */
export async function lookUpVolume<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
  fullName: string,
): Promise<LvsRow<Column> | null> {
  const [group = '', name = ''] = fullName.split('/');
  const rows = await rowsOf(spawner, columns, { group, name });
  if (rows !== null) return rows[0] ?? null;
  const problem = `LVM does not see the volume group ${group}, so it is unknown whether ${fullName} still exists: bring its disks back, and try again`;
  throw new CommandError(['lvs', group], problem);
}

/**
 * Asks for columns of a device that belongs to LVM according to its device-mapper UUID. Throws CommandError as
 * `listVolumes`, and if LVM does not list the device: that leaves its nature unknown.
 */
export async function findDevice<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
  dmName: string,
): Promise<LvsRow<Column>> {
  const path = `/dev/mapper/${dmName}`;
  const row = await findVolume(spawner, columns, path);
  if (row !== null) return row;
  const problem = `LVM made this device, but does not list it now: check LVM's filters and its devices file ("lvs -a ${dmName}")`;
  throw new CommandError(['lvs', path], problem);
}

/** All volumes that LVM lists. Throws CommandError if LVM does not answer. */
export async function listAllVolumes<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
): Promise<LvsRow<Column>[]> {
  const words = ['lvs', '-o', columns.join(',')] as const;
  const result = await askLvm(spawner, words);
  if (result.status !== 0) throw failureOf(words, result);
  return readRows(words, result).map((row) => pick(words, row, columns));
}

/**
 * What LVM shows of all groups, including those of another system and those guarded by locks. Throws CommandError if
 * LVM does not answer.
 */
export async function listAllGroups<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
): Promise<LvsRow<Column>[]> {
  const words = ['vgs', '--foreign', '--shared', '-o', columns.join(',')] as const;
  const result = await askLvm(spawner, words);
  // If LVM cannot look into a group, LVM 2.03.16 and 2.03.31 exit with 5, but still list it.
  const rows = result.gaveUp === undefined ? rowsIn(result) : null;
  if (rows === null) throw failureOf(words, result);
  return rows.map((row) => pick(words, row, columns));
}

function rowsIn(result: CommandResult): Rows | null {
  try {
    return readRows(['vgs'], result);
  } catch {
    return null;
  }
}

function rowsOf<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
  { group, name }: VolumeName,
): Promise<LvsRow<Column>[] | null> {
  return listVolumes(spawner, columns, group, { field: 'lv_name', value: name });
}

function readRows(words: LvmWords, result: CommandResult): Rows {
  try {
    const { report } = v.parse(reportSchema, JSON.parse(result.stdout));
    const rows = report[0]?.lv ?? report[0]?.vg;
    if (rows === undefined) throw new Error('no rows');
    return rows;
  } catch (error) {
    const outcome = { status: result.status, stderr: wordsOf(result.stderr), cause: error };
    throw new CommandError(words, 'its report is not in the format that LVM documents', outcome);
  }
}

/** The error, wherever LVM reports it. */
function failureOf(words: LvmWords, { status, stdout, stderr, gaveUp }: CommandResult): CommandError {
  const said = [wordsOf(stderr).trim(), ...loggedErrors(stdout)].filter((each) => each !== '').join('\n');
  if (gaveUp !== undefined) return new CommandError(words, gaveUp, { status });
  // LVM 2.03.16 and 2.03.31 print both of these.
  if (/permission denied|running as a non-root/i.test(said)) {
    return new CommandError(words, 'permission denied: run lvmsync as root', { status, mayNotAsk: true });
  }
  return new CommandError(words, 'LVM did not answer', { status, stderr: said });
}

function loggedErrors(stdout: string): string[] {
  try {
    const { log } = v.parse(reportSchema, JSON.parse(stdout));
    return (log ?? []).filter((each) => each.log_type === 'error').map((each) => each.log_message);
  } catch {
    return [];
  }
}

function pick<Column extends string>(
  words: LvmWords,
  row: Rows[number],
  columns: readonly Column[],
): LvsRow<Column> {
  const picked = columns.map((column) => {
    const value = row[column];
    if (value === undefined) {
      const problem = `its report is not in the format that LVM documents: no ${column}`;
      throw new CommandError(words, problem, { status: 0 });
    }
    return [column, value] as const;
  });
  return Object.fromEntries(picked) as LvsRow<Column>;
}

/** What LVM says about a logical volume. */
export interface LogicalVolume {
  /** `vg/lv`. */
  readonly fullName: string;
  readonly active: boolean;
  /** Whether it takes part in a merge: a snapshot that merges into its origin, or that origin. */
  readonly merging: boolean;
}

/** The columns that show a merge. */
export const MERGE_COLUMNS = ['lv_merging', 'lv_attr'] as const;

/**
 * Whether a volume takes part in a merge: a snapshot that merges into its origin, or that origin. For a thin origin
 * LVM 2.03.16 and 2.03.31 leave lv_merging empty: only the capital letter of its type shows it.
 */
export function isMerging({ lv_merging, lv_attr }: LvsRow<(typeof MERGE_COLUMNS)[number]>): boolean {
  return lv_merging !== '' || lv_attr.startsWith('O');
}

/**
 * Asks LVM about a volume in any form that it accepts (`vg/lv`, `/dev/vg/lv`, `/dev/mapper/vg-lv`); null if LVM has no
 * volume of that name. Throws CommandError as `findVolume` does.
 */
export async function findLogicalVolume(spawner: Spawner, name: string): Promise<LogicalVolume | null> {
  const columns = ['lv_full_name', 'lv_active', ...MERGE_COLUMNS] as const;
  const volume = await findVolume(spawner, columns, name);
  if (volume === null) return null;
  return {
    fullName: volume.lv_full_name,
    active: volume.lv_active !== '',
    merging: isMerging(volume),
  };
}
