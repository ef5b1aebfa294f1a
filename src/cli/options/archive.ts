import { InvalidArgumentError, Option, type Command, type OptionValues } from '@commander-js/extra-typings';
import type { KeepRules } from '../../chain/keep-rules.js';

/* What archives hold, and which of them are kept. */

export const ARCHIVE_GROUP = 'Archives:';

export const outOption = () =>
  new Option('-o, --out <file>', 'the new archive; an existing file is never overwritten').helpGroup(
    ARCHIVE_GROUP,
  );

export const proto3Option = () =>
  new Option('--proto3 <kind>', 'what files in the Ruby tool’s format hold, as the format does not say')
    .choices(['changes', 'undo'] as const)
    .helpGroup(ARCHIVE_GROUP);

/** The rules for keeping archives, as parsed. */
export interface KeepOptions {
  readonly keepLast?: number | undefined;
  readonly keepHourly?: number | undefined;
  readonly keepDaily?: number | undefined;
  readonly keepWeekly?: number | undefined;
  readonly keepMonthly?: number | undefined;
}

/** Adds the rules for keeping archives. */
export function withKeepRules<Args extends unknown[], Opts extends OptionValues>(
  command: Command<Args, Opts>,
) {
  return command
    .optionsGroup(ARCHIVE_GROUP)
    .option('--keep-last <n>', 'prune: keep the last N states', parseCount)
    .option(
      '--keep-hourly <n>',
      'prune: keep the last state of each of the last N hours that have one',
      parseCount,
    )
    .option('--keep-daily <n>', 'prune: the same for days', parseCount)
    .option('--keep-weekly <n>', 'prune: the same for weeks, which begin on Monday', parseCount)
    .option('--keep-monthly <n>', 'prune: the same for months', parseCount);
}

/** The rules that the options ask for; null if they ask for none. */
export function keepRulesOf(options: KeepOptions): KeepRules | null {
  const rules = {
    last: options.keepLast ?? 0,
    hourly: options.keepHourly ?? 0,
    daily: options.keepDaily ?? 0,
    weekly: options.keepWeekly ?? 0,
    monthly: options.keepMonthly ?? 0,
  };
  return Object.values(rules).some((count) => count > 0) ? rules : null;
}

function parseCount(value: string): number {
  const count = /^\d{1,6}$/.test(value) ? Number(value) : 0;
  if (count > 0) return count;
  throw new InvalidArgumentError('Expected a whole number, 1 or more.');
}
