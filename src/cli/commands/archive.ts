import { Command, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { KeepRules } from '../../chain/keep-rules.js';
import { UsageError } from '../../errors.js';
import { checkArchives, listArchives, pruneArchives, type CheckedArchive } from '../../jobs/archive.js';
import type { Context } from '../context.js';
import { exitCodeOf, SUCCESS } from '../exit-code.js';
import { dryRunOption } from '../options/policy.js';
import {
  archiveJson,
  checkJson,
  describeArchives,
  describePrune,
  pruneJson,
} from '../reports/archive-report.js';

const USAGE = `list [options] DIR
       lvmsync archive check [options] DIR
       lvmsync archive prune --keep-... N [options] DIR`;

const HELP_AFTER = `
Actions:
  list   show what is in DIR: times, states, sizes
  check  read every byte of every archive; the exit status is 8 if one cannot
         be read, 6 if one is damaged, and 5 if one is truncated
  prune  drop the states that no rule keeps: archives are combined, and every
         state that is kept can still be reached

Example:
  lvmsync archive prune --keep-hourly 24 --keep-daily 7 --keep-weekly 8 /var/lib/undo`;

interface ArchiveOptions extends Partial<
  Record<`keep${'Last' | 'Hourly' | 'Daily' | 'Weekly' | 'Monthly'}`, number>
> {
  readonly dryRun?: true | undefined;
  readonly json?: true | undefined;
}

/** Lists, checks and prunes a directory of archives. */
export function archiveCommand(context: Context, exitWith: (status: number) => void) {
  return new Command('archive')
    .description('List, check and prune the archives in a directory.')
    .usage(USAGE)
    .argument('<action>')
    .argument('<dir>')
    .addOption(keepOption('last', 'prune: keep the last N states'))
    .addOption(keepOption('hourly', 'prune: keep the last state of each of the last N hours that have one'))
    .addOption(keepOption('daily', 'prune: the same for days'))
    .addOption(keepOption('weekly', 'prune: the same for weeks, which begin on Monday'))
    .addOption(keepOption('monthly', 'prune: the same for months'))
    .addOption(dryRunOption())
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP_AFTER)
    .action(async (action, dir, options: ArchiveOptions) => {
      if (action !== 'prune') refusePruneOptions(action, options);
      if (action === 'prune') await prune(dir, options, context);
      else if (action === 'list') await list(dir, options, context);
      else if (action === 'check') exitWith(await check(dir, options, context));
      else throw new UsageError(`${action}: unknown action: expected list, check or prune`);
    });
}

async function list(dir: string, { json }: ArchiveOptions, context: Context): Promise<void> {
  const archives = await listArchives(dir);
  if (json === true) print(context, `${JSON.stringify({ archives: archives.map(archiveJson) })}\n`);
  else print(context, describeArchives(archives).join(''));
}

/** Returns the exit status of the worst problem: unreadable, then damaged, then truncated. */
async function check(dir: string, { json }: ArchiveOptions, context: Context): Promise<number> {
  let status = SUCCESS;
  const checked: object[] = [];
  const tell = (each: CheckedArchive): void => {
    const { archive, problem } = each;
    if (problem !== null) status = Math.max(status, exitCodeOf(problem));
    checked.push(checkJson(each));
    if (json !== true)
      print(context, problem === null ? `ok  ${archive.name}\n` : `BAD ${problem.message}\n`);
  };
  await checkArchives(dir, tell, context.surroundings('normal'));
  if (json === true) print(context, `${JSON.stringify({ archives: checked })}\n`);
  return status;
}

async function prune(dir: string, options: ArchiveOptions, context: Context): Promise<void> {
  const rules: KeepRules = {
    last: options.keepLast ?? 0,
    hourly: options.keepHourly ?? 0,
    daily: options.keepDaily ?? 0,
    weekly: options.keepWeekly ?? 0,
    monthly: options.keepMonthly ?? 0,
  };
  if (Object.values(rules).every((count) => count === 0)) {
    throw new UsageError(
      'prune needs at least one rule, such as --keep-last 10: without a rule, no state would be kept',
    );
  }
  const dryRun = options.dryRun === true;
  const summary = await pruneArchives(dir, { rules, dryRun }, context.surroundings('normal'));
  if (options.json === true) print(context, `${JSON.stringify(pruneJson(summary))}\n`);
  else for (const line of describePrune(summary, dryRun)) context.say(line);
}

function refusePruneOptions(action: string, { dryRun, ...options }: ArchiveOptions): void {
  const given = Object.keys(options).filter((name) => name !== 'json');
  if (given.length === 0 && dryRun !== true) return;
  throw new UsageError(
    `--keep-... and --dry-run cannot be used with archive ${action}: they are options of prune`,
  );
}

function print(context: Context, text: string): void {
  context.stdout.write(text);
}

function keepOption(period: 'last' | 'hourly' | 'daily' | 'weekly' | 'monthly', meaning: string) {
  return new Option(`--keep-${period} <n>`, meaning).argParser((value: string) => {
    const count = /^\d{1,6}$/.test(value) ? Number(value) : 0;
    if (count > 0) return count;
    throw new InvalidArgumentError('Expected a whole number, 1 or more.');
  });
}
