import { Command } from '@commander-js/extra-typings';
import { describeRecovery, noWayBack } from '../../apply/recover.js';
import { planRecover, recover } from '../../jobs/apply.js';
import type { Context } from '../context.js';
import { dryRunOption, forceOption, NOT_THE_BASE, stateDirOption } from '../options/policy.js';

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
    .addOption(dryRunOption())
    .action(async (target, { stateDir = null, force, dryRun = false }) => {
      const options = { evenIfChanged: force.includes('base') };
      const env = context.surroundings('normal');
      if (dryRun) {
        context.say(await planRecover(target, stateDir, options, env));
        return;
      }
      const outcome = await recover(target, stateDir, options, env);
      if (outcome.kind === 'half copied' || outcome.kind === 'half written')
        throw noWayBack(target, outcome.kind);
      context.say(describeRecovery(target, outcome));
    });
}
