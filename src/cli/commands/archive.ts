import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { checkArchives, listArchives, pruneArchives, type CheckedArchive } from '../../jobs/archive.js';
import type { Context } from '../context.js';
import { exitCodeOf, SUCCESS } from '../exit-code.js';
import { moreHelp } from '../help.js';
import { ARCHIVE_GROUP, keepRulesOf, withKeepRules, type KeepOptions } from '../options/archive.js';
import { dryRunOption } from '../options/policy.js';
import { jsonOption } from '../options/talk.js';
import {
  archiveJson,
  checkJson,
  describeArchives,
  describePrune,
  pruneJson,
} from '../reports/archive-report.js';
import { unknownAction } from './words.js';

const USAGE = `list [options] DIR
       lvmsync archive check [options] DIR
       lvmsync archive prune --keep-... N [options] DIR`;

const HELP = {
  lists: {
    'Actions:': {
      list: 'show what is in DIR: times, states, sizes',
      check:
        'read every byte of every archive; the exit status is 8 if one cannot be read, 6 if one is damaged, and 5 if one is truncated',
      prune:
        'drop the states that no rule keeps: archives are combined, and every state that is kept can still be reached',
    },
  },
  examples: ['lvmsync archive prune --keep-daily 7 --keep-weekly 8 /var/lib/undo'],
};

interface ArchiveOptions extends KeepOptions {
  readonly dryRun?: true | undefined;
  readonly json?: true | undefined;
}

/** Lists, checks and prunes a directory of archives. */
export function archiveCommand(context: Context, exitWith: (status: number) => void) {
  const command = new Command('archive')
    .description('List, check and prune the archives in a directory.')
    .usage(USAGE)
    .argument('<action>')
    .argument('<dir>');
  return withKeepRules(command)
    .addOption(dryRunOption().helpGroup(ARCHIVE_GROUP))
    .addOption(jsonOption())
    .addHelpText('after', moreHelp(HELP))
    .action(async (action, dir, options: ArchiveOptions) => {
      if (action !== 'prune') refusePruneOptions(action, options);
      if (action === 'prune') await prune(dir, options, context);
      else if (action === 'list') await list(dir, options, context);
      else if (action === 'check') exitWith(await check(dir, options, context));
      else throw unknownAction('archive', action, ['list', 'check', 'prune']);
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
  const rules = keepRulesOf(options);
  if (rules === null) {
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
