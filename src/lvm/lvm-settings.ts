import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
/** With our settings, LVM begins each line with this, so its own messages can be recognized. */
export const MESSAGE_PREFIX = '\t';

/**
 * What LVM prints, and how: our own settings override lvm.conf, lvmlocal.conf and profiles (through `--config`). They
 * affect output only: the administrator decides which devices LVM uses, and how it makes volumes. LVM 2.03.16 and
 * 2.03.31 know each of these; an unknown one would cause a warning on each call.
 */
const LOG_SETTINGS = [
  'log {',
  ...[
    'verbose=0',
    'silent=0',
    'level=0',
    'activation=0',
    'command_names=0',
    'report_command_log=0',
    'indent=1',
  ],
  `prefix="${MESSAGE_PREFIX}"`,
  '}',
].join(' ');

/**
 * The same, for programs that change something: LVM 2.03.16 fails even for these if it does not know the report
 * format.
 */
export const CHANGE_SETTINGS = `${LOG_SETTINGS} report/output_format="basic"`;

/** The same, for programs that report: JSON, with all rows and columns asked for, sizes in bytes, times since 1970. */
export const REPORT_SETTINGS = [
  LOG_SETTINGS,
  'report {',
  ...[
    'output_format="json"',
    'buffered=1',
    'headings=1',
    'aligned=1',
    'prefixes=0',
    'quoted=1',
    'columns_as_rows=0',
  ],
  ...['separator=" "', 'list_item_separator=","', 'time_format="%s"', 'binary_values_as_numeric=0'],
  ...['compact_output=0', 'compact_output_cols=""', 'mark_hidden_devices=0', 'two_word_unknown_device=0'],
  ...['lvs_sort="vg_name,lv_name"', 'vgs_sort="vg_name"'],
  '}',
  'global { units="b" suffix=0 si_unit_consistency=1 }',
].join(' ');

/**
 * Keeps variables of our caller away from the LVM and device-mapper programs: other file descriptors for their output,
 * another group for names without one, another program's semaphore to wait for.
 */
export const LVM_ENVIRONMENT: NodeJS.ProcessEnv = {
  LVM_SUPPRESS_FD_WARNINGS: '1',
  LVM_OUT_FD: undefined,
  LVM_ERR_FD: undefined,
  LVM_REPORT_FD: undefined,
  LVM_VG_NAME: undefined,
  DM_UDEV_COOKIE: undefined,
  DM_DEFAULT_NAME_MANGLING_MODE: undefined,
};

/** The settings that differ from LVM's defaults: `section/name` to the value, as LVM writes it. */
export type ChangedSettings = ReadonlyMap<string, string>;

/**
 * Asks which settings of LVM are not its defaults. Without our `--config`, which would be among them. Throws
 * CommandError if LVM does not answer.
 */
export async function readChangedSettings(spawner: Spawner): Promise<ChangedSettings> {
  const words = ['lvmconfig', '--type', 'diff'] as const;
  const result = await spawner.run(words, { environment: LVM_ENVIRONMENT, watch: 'question' });
  if (result.status !== 0) {
    throw new CommandError(words, result.gaveUp ?? 'LVM did not answer', result);
  }
  return parseSettings(result.stdout);
}

/** Parses LVM's format for settings: sections in braces, one setting a line. */
function parseSettings(text: string): ChangedSettings {
  const settings = new Map<string, string>();
  let section = '';
  for (const line of text.split('\n').map((each) => each.trim())) {
    section = /^([a-z_]+) \{$/.exec(line)?.[1] ?? section;
    const [, name, value] = /^([a-z_]+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) settings.set(`${section}/${name}`, value);
  }
  return settings;
}
