import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import type { RestoreGoal } from '../../chain/plan-restore.js';
import { restore, restoreInstantly } from '../../jobs/restore.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { ARCHIVE_GROUP } from '../options/archive.js';
import {
  dryRunOption,
  forceOption,
  noJournalOption,
  policyOf,
  snapbackOption,
  stateDirOption,
  TARGET_GROUP,
} from '../options/policy.js';
import { jsonOption } from '../options/talk.js';
import { checkSuspect } from '../reports/summary.js';
import { formatBytes, formatDuration } from '../../bytes/amounts.js';
import { required } from './words.js';

const HELP = {
  lists: {
    'Arguments:': {
      TARGET: 'the block device or image file to take back',
      GOAL: 'a time: 2026-11-21, 2026-11-21T15:04, 2026-11-21T15:04:05Z (local time if it has no zone); or the name of a state, or its beginning',
      DIR: 'the directory with the snapbacks of its transfers',
    },
  },
  examples: ['lvmsync restore /dev/vg/vm --to 2026-11-21 --from /var/lib/undo --dry-run'],
};

/** Takes a target back to an earlier state, using the snapbacks in a directory. */
export function restoreCommand(context: Context) {
  return new Command('restore')
    .description('Take TARGET back to an earlier state, using the snapbacks in a directory.')
    .usage('[options] TARGET --to GOAL --from DIR')
    .argument('<target>')
    .optionsGroup(ARCHIVE_GROUP)
    .option('--to <goal>', 'the time or the state to go back to')
    .option('--from <dir>', 'the directory with the snapbacks')
    .optionsGroup(TARGET_GROUP)
    .option('--instant', 'take an unused logical volume back at once; LVM merges the data in the background')
    .addOption(snapbackOption())
    .addOption(forceOption('base', 'TARGET is not in the state that the archives start from'))
    .addOption(noJournalOption())
    .addOption(stateDirOption())
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .addHelpText('after', moreHelp(HELP))
    .action(async (target, { instant, ...options }) => {
      const goal = parseGoal(required(options.to, '--to GOAL', 'restore'));
      const from = required(options.from, '--from DIR', 'restore');
      const policy = policyOf({ ...options, onBaseMismatch: 'stop' });
      if (instant === true && (options.snapback !== undefined || !options.journal)) {
        throw new UsageError(
          '--snapback and --no-journal cannot be used with --instant, which does not save old bytes',
        );
      }
      const go = instant === true ? restoreInstantly : restore;
      const wish = { targetPath: target, goal, folder: from, policy };
      const summary = await go(wish, context.surroundings('normal'));
      const { applied, seconds } = summary;
      const changedBytes = applied?.changedBytes ?? 0;
      if (options.json === true) {
        const { archives } = summary;
        const states = { from: summary.from, to: summary.to };
        const what = { changedBytes, blocks: applied?.blocks ?? 0, suspect: applied?.suspect ?? null };
        const json = { target, ...states, archives, ...what, seconds };
        context.stdout.write(`${JSON.stringify(json)}\n`);
      } else if (applied !== null && options.dryRun === true) {
        context.say(
          `dry run: ${formatBytes(changedBytes)} would be written to ${target}; nothing was written`,
        );
      } else if (applied !== null && instant === true) {
        const merge =
          'LVM merges the old bytes in the background, also after a reboot (lvs shows the progress)';
        context.say(
          `${target}: taken back to ${summary.to} in ${formatDuration(seconds)}: ${formatBytes(changedBytes)} differ; ${merge}`,
        );
      } else if (applied !== null) {
        context.say(
          `${target}: taken back to ${summary.to}: ${formatBytes(changedBytes)} written and flushed in ${formatDuration(seconds)}`,
        );
      }
      if (applied !== null) checkSuspect(applied, target);
    });
}

const TIME = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?$/;

/** An argument that looks like a time is a time; any other is the name of a state. Throws UsageError. */
function parseGoal(word: string): RestoreGoal {
  if (!TIME.test(word)) return { kind: 'state', name: word };
  // JavaScript reads a date alone as UTC, but a date with a time as local time.
  const time = new Date(word.length === 10 ? `${word}T00:00` : word.replace(' ', 'T'));
  // JavaScript reads the 30th of February as a day in March, which is later than what the user asked for.
  const isDay = new Date(`${word.slice(0, 10)}T00:00Z`).getUTCDate() === Number(word.slice(8, 10));
  if (!isDay || Number.isNaN(time.getTime())) throw new UsageError(`--to ${word}: not a valid time`);
  return { kind: 'time', time };
}
