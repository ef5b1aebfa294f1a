import { Command } from '@commander-js/extra-typings';
import { sendPulled } from '../../jobs/pull.js';
import { sinkFrom } from '../../transport/stream-channel.js';
import type { Context } from '../context.js';
import { exitCodeOf, SUCCESS } from '../exit-code.js';
import { dryRunOption } from '../options/policy.js';
import {
  comparisonOf,
  dataSourceOption,
  quiescedOption,
  SENT_GROUP,
  withComparison,
} from '../options/source.js';
import { bwlimitOption, codecOption, trafficOf } from '../options/traffic.js';

/** The far side of a pull, which the receiver starts: the stream goes out on stdout, replies come in on stdin. */
export function sendCommand(context: Context, exitWith: (status: number) => void) {
  const command = new Command('send')
    .description(
      'Run the sending side of a pull: write the stream to standard output, read replies from standard input.',
    )
    .usage('[options] SNAPSHOT')
    .argument('<SNAPSHOT>', 'the snapshot to send the changes of')
    .addOption(dataSourceOption())
    .addOption(quiescedOption());
  return withComparison(command)
    .addOption(dryRunOption().helpGroup(SENT_GROUP))
    .addOption(codecOption())
    .addOption(bwlimitOption())
    .action(async (name, options) => {
      const line = {
        input: context.input('the receiver'),
        output: sinkFrom(context.stdout, 'the receiver'),
      };
      const { dataSource, quiesced } = options;
      const data = {
        ...(dataSource === undefined ? {} : { dataSource }),
        ...(quiesced === undefined ? {} : { quiesced }),
      };
      const spec = { kind: 'snapshot', name, ...data } as const;
      const how = { ...comparisonOf(options), ...trafficOf(options, false) };
      const { error, told } = await sendPulled(
        line,
        { spec, how, dryRun: options.dryRun === true },
        context.surroundings('normal'),
      );
      // If the receiver received the error, it prints it; printing it here as well would show it twice.
      if (error !== null && !told) throw error;
      exitWith(error === null ? SUCCESS : exitCodeOf(error));
    });
}
