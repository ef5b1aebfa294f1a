import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { copy } from '../../jobs/copy.js';
import { DEFAULT_POLICY } from '../../targets/apply-policy.js';
import { parseTargetSpec } from '../../transport/target-spec.js';
import type { Context } from '../context.js';
import { createOf, createOption, createThinOption, dryRunOption, stateDirOption } from '../options/policy.js';
import {
  batchOption,
  reachOf,
  remotePathOption,
  remotePrefixOption,
  retryOption,
  rshOption,
  sudoOption,
} from '../options/reach.js';
import { isQuiesced, quiescedOption } from '../options/source.js';
import { debugOption, jsonOption, quietOption, verboseOption, verbosityOf } from '../options/talk.js';
import { bwlimitOption, codecOption, compressOption, trafficOf } from '../options/traffic.js';
import { sayTransferred } from '../reports/summary.js';

const HELP_AFTER = `
Words:
  SOURCE    a snapshot, classic or thin, a volume, partition or image file of
            this host: vg/lv, /dev/vg/lv, FILE
  TARGET    the volume (vg/lv), block device or image file that is overwritten
  HOST      [user@]host; with a port, ssh://user@host:port/dev/… for all of it

Examples:
  lvmsync copy vg/vm-base backup:/dev/vg/vm --create
  lvmsync copy vg/vm-base backup:/dev/vg/vm --create-thin pool
  lvmsync vg/vm-base backup:/dev/vg/vm    later: what changed since vm-base`;

/** The first copy, from which on changes can be sent. */
export function copyCommand(context: Context) {
  return new Command('copy')
    .description('Copy all of SOURCE over TARGET; what is zero, a hole or not mapped is not sent.')
    .usage('[options] SOURCE [HOST:]TARGET')
    .argument('<SOURCE>')
    .argument('<[HOST:]TARGET>')
    .addOption(createOption())
    .addOption(createThinOption())
    .option('--seed', 'compare with what TARGET holds first, and send only what differs')
    .addOption(rshOption())
    .addOption(remotePathOption())
    .addOption(sudoOption())
    .addOption(remotePrefixOption())
    .addOption(batchOption())
    .addOption(compressOption())
    .addOption(codecOption())
    .addOption(bwlimitOption())
    .addOption(retryOption())
    .addOption(quiescedOption())
    .addOption(stateDirOption())
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .addOption(verboseOption())
    .addOption(debugOption())
    .addOption(quietOption())
    .addHelpText('after', HELP_AFTER)
    .action(async (name, target, options) => {
      refuseRemote(name);
      const create = createOf(options);
      const seed = options.seed === true;
      if (seed && create !== null) {
        throw new UsageError(
          '--seed compares with what is there, --create makes what is not: take one of them',
        );
      }
      const dryRun = options.dryRun === true;
      const policy = { ...DEFAULT_POLICY, stateDir: options.stateDir ?? null, dryRun, create };
      const summary = await copy(
        name,
        { kind: 'target', spec: parseTargetSpec(target), policy },
        seed,
        reachOf(options, context),
        { proofs: false, ...trafficOf(options, false) },
        context.surroundings(verbosityOf(options)),
        isQuiesced(options),
      );
      sayTransferred(summary, target, options, context, 'copy');
    });
}

function refuseRemote(word: string): void {
  if (parseTargetSpec(word).kind === 'local') return;
  throw new UsageError(
    `${word}: SOURCE must be on this host; a file with a colon in its name is written ./NAME`,
  );
}
