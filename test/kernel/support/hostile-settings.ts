/** Which of LVM's answers a setting changes: those that do not get into each other's way can be set together. */
export type HostileGroup = 'reports' | 'JSON' | 'logs';

/** What administrators may write into lvm.conf that changes what LVM's programs print, by what it does. */
export const HOSTILE_SETTINGS: readonly {
  readonly name: string;
  readonly group: HostileGroup;
  readonly settings: string;
}[] = [
  {
    name: 'values in other forms',
    group: 'reports',
    settings:
      'report { binary_values_as_numeric=1 time_format="%d.%m.%Y" list_item_separator=";" mark_hidden_devices=1 two_word_unknown_device=1 }',
  },
  {
    name: 'columns left out',
    group: 'reports',
    settings:
      'report { compact_output=1 compact_output_cols="lv_tags,lv_merging,origin" lvs_cols="lv_name" vgs_cols="vg_name" }',
  },
  {
    name: 'another layout',
    group: 'reports',
    settings:
      'report { output_format="basic" aligned=0 buffered=0 headings=2 separator="|" prefixes=1 quoted=0 columns_as_rows=1 lvs_sort="-lv_size" }',
  },
  {
    name: 'stricter JSON',
    group: 'JSON',
    settings: 'report { output_format="json_std" }',
  },
  {
    name: 'reports of what commands log',
    group: 'logs',
    settings:
      'log { report_command_log=1 command_log_sort="log_type" command_log_cols="log_message" command_log_selection="all" }',
  },
  {
    name: 'other words in front',
    group: 'logs',
    settings: 'log { command_names=1 prefix=">> " indent=0 }',
  },
  {
    name: 'many words',
    group: 'logs',
    settings:
      'log { verbose=2 level=7 activation=1 file="/run/lvm.log" silent=0 debug_classes=["memory","locking"] }',
  },
  { name: 'few words', group: 'JSON', settings: 'log { silent=1 }' },
  { name: 'other units', group: 'reports', settings: 'global { units="g" si_unit_consistency=0 suffix=1 }' },
];
