import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { restore, restoreInstantly, type RestoreGoal } from '../../jobs/restore.js';
import type { Context } from '../context.js';
import {
  forceOneOption,
  dryRunOption,
  noJournalOption,
  policyOf,
  snapbackOption,
  stateDirOption,
} from '../options/policy.js';
import { jsonOption } from '../options/talk.js';
import { checkSuspect } from '../reports/summary.js';
import { formatBytes, formatDuration } from '../terminal.js';

const HELP_AFTER = `
Words:
  TARGET  the block device or image file to take back
  GOAL    a time: 2026-11-21, 2026-11-21T15:04, 2026-11-21T15:04:05Z (without
          a zone: this host's); or a state's name, or the beginning of one
  DIR     where the snapbacks of its transfers lie

Example:
  lvmsync restore /dev/vg/vm --to 2026-11-21T03:00 --from /var/lib/undo --dry-run`;

/** Takes a target back to an earlier state by the snapbacks in a folder. */
export function restoreCommand(context: Context) {
  return new Command('restore')
    .description('Take TARGET back to an earlier state, by the snapbacks in a folder.')
    .usage('[options] TARGET --to GOAL --from DIR')
    .argument('<target>')
    .requiredOption('--to <goal>', 'the time, or the state, to go back to')
    .requiredOption('--from <dir>', 'the folder with the snapbacks')
    .option('--instant', 'of a logical volume that nobody has open: by a merge, which LVM goes on with')
    .addOption(dryRunOption())
    .addOption(snapbackOption())
    .addOption(forceOneOption('base', 'TARGET is not in the state that the archives lead back from'))
    .addOption(noJournalOption())
    .addOption(stateDirOption())
    .addOption(jsonOption())
    .addHelpText('after', HELP_AFTER)
    .action(async (target, { to, from, instant, ...options }) => {
      const policy = policyOf({ ...options, onBaseMismatch: 'stop' });
      if (instant === true && (options.snapback !== undefined || !options.journal)) {
        throw new UsageError('--instant keeps and overwrites no old bytes: no --snapback, no --no-journal');
      }
      const go = instant === true ? restoreInstantly : restore;
      const summary = await go(target, parseGoal(to), from, policy, context.surroundings('normal'));
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
        const merge = 'LVM merges the old bytes in the background, also after a reboot (lvs shows how far)';
        context.say(
          `${target}: shows ${summary.to} from now on, after ${formatDuration(seconds)}: ${formatBytes(changedBytes)} differ; ${merge}`,
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

/** A word that looks like a time is one; any other names a state. */
function parseGoal(word: string): RestoreGoal {
  if (!TIME.test(word)) return { kind: 'state', name: word };
  // A date alone would be read as UTC, a date with a time as this host's.
  const time = new Date(word.length === 10 ? `${word}T00:00` : word.replace(' ', 'T'));
  // The 30th of February would be taken for a day of March: later than what was asked for.
  const isDay = new Date(`${word.slice(0, 10)}T00:00Z`).getUTCDate() === Number(word.slice(8, 10));
  if (!isDay || Number.isNaN(time.getTime())) throw new UsageError(`--to ${word}: there is no such time`);
  return { kind: 'time', time };
}
