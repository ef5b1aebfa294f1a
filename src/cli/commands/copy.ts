import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { copy } from '../../jobs/copy.js';
import { DEFAULT_POLICY } from '../../targets/apply-policy.js';
import { parseTargetSpec } from '../../transport/target-spec.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { createOf, dryRunOption, stateDirOption, withCreate } from '../options/policy.js';
import { reachOf, retryOption, withReach } from '../options/reach.js';
import { isQuiesced, quiescedOption, SENT_GROUP } from '../options/source.js';
import { verbosityOf, withTalk } from '../options/talk.js';
import { trafficOf, withTraffic } from '../options/traffic.js';
import { sayTransferred } from '../reports/summary.js';

const HELP = {
  lists: {
    'Arguments:': {
      SOURCE:
        'a snapshot (classic or thin), volume, partition or image file on this host: vg/lv, /dev/vg/lv, FILE',
      TARGET: 'the volume (vg/lv), block device or image file to overwrite',
      HOST: '[user@]host; to give a port, write HOST and TARGET together as ssh://user@host:port/dev/…',
    },
  },
  examples: [
    'lvmsync copy vg/vm-base backup:/dev/vg/vm --create',
    'lvmsync copy vg/vm-base backup:/dev/vg/vm --create-thin pool',
    'lvmsync vg/vm-base backup:/dev/vg/vm    later: send what has changed',
  ],
};

/** Makes the first copy of a volume. After that, changes can be sent to it. */
export function copyCommand(context: Context) {
  const command = new Command('copy')
    .description('Copy all of SOURCE over TARGET. Zeroes, holes and unmapped chunks are not sent.')
    .usage('[options] SOURCE [HOST:]TARGET')
    .argument('<SOURCE>')
    .argument('<[HOST:]TARGET>')
    .addOption(quiescedOption())
    .optionsGroup(SENT_GROUP)
    .option('--seed', 'compare SOURCE with TARGET first, and send only what differs');
  const sending = withTraffic(withReach(command).addOption(retryOption()));
  return withTalk(withCreate(sending).addOption(stateDirOption()).addOption(dryRunOption()))
    .addHelpText('after', moreHelp(HELP))
    .action(async (name, target, options) => {
      refuseRemote(name);
      const create = createOf(options);
      const seed = options.seed === true;
      if (seed && create !== null) {
        throw new UsageError(
          '--seed cannot be used with --create: --seed compares with an existing TARGET, --create makes a new one',
        );
      }
      const dryRun = options.dryRun === true;
      const policy = { ...DEFAULT_POLICY, stateDir: options.stateDir ?? null, dryRun, create };
      const summary = await copy(
        { name, seed, isQuiesced: isQuiesced(options) },
        {
          destination: { kind: 'target', spec: parseTargetSpec(target), policy },
          reach: reachOf(options, context),
          how: { proofs: false, ...trafficOf(options, false) },
        },
        context.surroundings(verbosityOf(options)),
      );
      sayTransferred(summary, target, { ...options, foundBy: 'copy' }, context);
    });
}

function refuseRemote(word: string): void {
  if (parseTargetSpec(word).kind === 'local') return;
  throw new UsageError(
    `${word}: SOURCE must be on this host (for a file with a colon in its name, write ./NAME)`,
  );
}
