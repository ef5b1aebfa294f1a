import { CommandError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
/** What each line begins with that LVM says while it has these settings: by it our command's own words are told. */
export const MESSAGE_PREFIX = '\t';

/**
 * What LVM says, and how, when we ask: never as lvm.conf, lvmlocal.conf or a profile has it, over all of which
 * `--config` goes. Only of what is said: which devices LVM looks at, and how it makes volumes, is its administrator's
 * to say. LVM 2.03.16 and 2.03.31 know each of these; an unknown one would be a warning at each call.
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

/** The same, for programs that change something: LVM 2.03.16 refuses those, too, for a form of reports that it does not know. */
export const CHANGE_SETTINGS = `${LOG_SETTINGS} report/output_format="basic"`;

/** The same, for programs that report: JSON, of all rows and columns asked for, sizes in bytes, times since 1970. */
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
 * What LVM's and device-mapper's programs shall not take from whoever started us: other file descriptors for their
 * output, another group for names without one, a semaphore of somebody else's to leave the waiting to.
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

/** What lvm.conf says other than LVM would by itself: `section/name` to the value, as LVM writes it. */
export type ChangedSettings = ReadonlyMap<string, string>;

/**
 * Asks which settings of LVM are not its own defaults. Without our `--config`, which would be among them. Throws
 * CommandError where LVM does not say.
 */
export async function readChangedSettings(spawner: Spawner): Promise<ChangedSettings> {
  const words = ['lvmconfig', '--type', 'diff'] as const;
  const result = await spawner.run(words, { environment: LVM_ENVIRONMENT, watch: 'question' });
  if (result.status !== 0) {
    throw new CommandError(words, result.status, result.stderr, result.gaveUp ?? 'LVM does not answer');
  }
  return parseSettings(result.stdout);
}

/** Takes LVM's way of writing settings apart: sections in braces, one setting a line. */
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
