import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { pull } from '../../jobs/pull.js';
import { parseTargetSpec } from '../../transport/target-spec.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { policyOf, withPolicy } from '../options/policy.js';
import { reachOf, retryOption, withReach } from '../options/reach.js';
import { comparisonOf, isQuiesced, withComparison, withSource } from '../options/source.js';
import { verbosityOf, withTalk } from '../options/talk.js';
import { trafficOf, withTraffic } from '../options/traffic.js';
import { checkSuspect, sayTransferred } from '../reports/summary.js';

const HELP = {
  lists: {
    'Arguments:': {
      HOST: '[user@]host, on which the sender runs; to give a port, write HOST and SNAPSHOT together as ssh://user@host:port/dev/…',
      SNAPSHOT:
        'a classic or thin snapshot on HOST, made before the changes: vg/lv, /dev/vg/lv, /dev/mapper/…',
      TARGET:
        'the volume (vg/lv), block device or image file on this host to write; it must hold the state of SNAPSHOT',
    },
  },
  note: 'Run it on the host that has TARGET, such as the backup host.',
  examples: ['lvmsync pull vmhost:vg/vm-base /dev/vg/vm --data-source vg/vm-new'],
};

/** A transfer that the receiver starts, for networks in which only the receiver can connect to the sender. */
export function pullCommand(context: Context) {
  const command = new Command('pull')
    .description('Fetch what changed in a volume on another host since a snapshot, and write it to TARGET.')
    .usage('[options] HOST:SNAPSHOT TARGET')
    .argument('<HOST:SNAPSHOT>')
    .argument('<TARGET>');
  const sending = withReach(withComparison(withSource(command))).addOption(retryOption());
  return withTalk(withPolicy(withTraffic(sending)))
    .addHelpText('after', moreHelp(HELP))
    .action(async (from, target, options) => {
      const data = { dataSource: options.dataSource ?? null, isQuiesced: isQuiesced(options) };
      const spec = { ...remoteSnapshot(from), ...data };
      refuseHost(target);
      const summary = await pull(
        spec,
        { path: target, policy: policyOf(options) },
        {
          reach: reachOf(options, context),
          how: { ...comparisonOf(options), ...trafficOf(options, false) },
        },
        context.surroundings(verbosityOf(options)),
      );
      sayTransferred({ ...summary, source: from }, target, options, context);
      checkSuspect(summary, target);
    });
}

function remoteSnapshot(word: string) {
  const spec = parseTargetSpec(word);
  if (spec.kind === 'local') {
    throw new UsageError(
      `${word}: missing host: pull expects HOST:SNAPSHOT (to send a snapshot of this host, run: lvmsync ${word} TARGET)`,
    );
  }
  const { user, host, port, path } = spec;
  return { host: { user, host, port }, snapshot: path };
}

function refuseHost(target: string): void {
  if (parseTargetSpec(target).kind === 'remote') {
    throw new UsageError(
      `${target}: TARGET must be on this host (for a file with a colon in its name, write ./NAME)`,
    );
  }
}
