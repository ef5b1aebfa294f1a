import { Command } from '@commander-js/extra-typings';
import { describeRecovery, noWayBack } from '../../apply/recover.js';
import { recover } from '../../jobs/apply.js';
import type { Context } from '../context.js';
import { forceOption, NOT_THE_BASE, stateDirOption } from '../options/policy.js';

/** Takes a target back after an interrupted apply. */
export function recoverCommand(context: Context) {
  return new Command('recover')
    .description(
      'Take TARGET back to what it held before an interrupted apply, or report that the apply had finished.',
    )
    .usage('[options] TARGET')
    .argument('<TARGET>', 'the block device or image file')
    .addOption(stateDirOption())
    .addOption(forceOption('base', NOT_THE_BASE))
    .action(async (target, { stateDir, force }) => {
      const options = { evenIfChanged: force.includes('base') };
      const outcome = await recover(target, stateDir ?? null, options, context.surroundings('normal'));
      if (outcome.kind === 'half copied' || outcome.kind === 'half written')
        throw noWayBack(target, outcome.kind);
      context.say(describeRecovery(target, outcome));
    });
}
