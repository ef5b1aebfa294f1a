import * as v from 'valibot';
import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';

/** What LVM says of a logical volume, by the names of its columns; sizes in bytes, without a unit. */
export type LvsRow<Column extends string> = Readonly<Record<Column, string>>;

const reportSchema = v.object({
  report: v.array(v.object({ lv: v.array(v.record(v.string(), v.string())) })),
});

/**
 * Asks `lvs` for columns of the volumes that `words` name or select. Null where LVM has none of that name. Throws
 * CommandError where lvs is missing, may not be run, or answers otherwise.
 */
export async function listVolumes<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
  words: readonly string[],
): Promise<LvsRow<Column>[] | null> {
  const argv = [
    ...(['lvs', '--reportformat', 'json', '--units', 'b', '--nosuffix', '-o', columns.join(',')] as const),
    ...words,
  ] as const;
  const { status, stdout, stderr } = await spawner.run([...argv]);
  if (status !== 0) {
    if (/failed to find|not found|invalid path|skipping|valid volume group/i.test(stderr)) return null;
    if (/permission denied|running as a non-root/i.test(stderr)) {
      throw new CommandError(argv, status, '', 'no right to ask LVM: run lvmsync as root');
    }
    throw new CommandError(argv, status, stderr, 'LVM does not answer');
  }
  try {
    const rows = v.parse(reportSchema, JSON.parse(stdout)).report[0]?.lv ?? [];
    return rows.map((row) => pick(row, columns));
  } catch (error) {
    throw new CommandError(argv, status, stderr, 'its report is not what LVM promises', { cause: error });
  }
}

/**
 * Asks for columns of one volume, `vg/lv`, hidden ones too. Null only where its group has none of that name: with its
 * disks away, a group's volumes are not gone. Throws CommandError as `listVolumes`, and where LVM sees no such group.
 */
export async function lookUpVolume<Column extends string>(
  spawner: Spawner,
  columns: readonly Column[],
  fullName: string,
): Promise<LvsRow<Column> | null> {
  const [row] = (await listVolumes(spawner, columns, ['-a', '--', fullName])) ?? [];
  if (row !== undefined) return row;
  const [group = ''] = fullName.split('/');
  if ((await listVolumes(spawner, ['vg_name'], ['--', group])) !== null) return null;
  const problem = `LVM sees no volume group ${group} now, so nothing tells what has become of ${fullName}: bring its disks back, and try again`;
  throw new CommandError(['lvs', group], null, '', problem);
}

function pick<Column extends string>(
  row: Readonly<Record<string, string>>,
  columns: readonly Column[],
): LvsRow<Column> {
  const picked = columns.map((column) => {
    const value = row[column];
    if (value === undefined) throw new Error(`no ${column}`);
    return [column, value] as const;
  });
  return Object.fromEntries(picked) as LvsRow<Column>;
}
