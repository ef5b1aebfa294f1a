import { Command } from '@commander-js/extra-typings';
import { makeSnapback } from '../../jobs/snapback.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { outOption } from '../options/archive.js';
import { forceOption } from '../options/policy.js';
import { dataSourceOption, SOURCE_GROUP, takeSource, withStoreFiles } from '../options/source.js';
import { jsonOption } from '../options/talk.js';
import { codecOption } from '../options/traffic.js';
import { formatBytes, formatDuration } from '../../bytes/amounts.js';
import { refuseMore, required } from './words.js';

const USAGE = `[options] SNAPSHOT -o FILE
       lvmsync snapback [options] --cow FILE --origin FILE -o FILE`;

const HELP = {
  lists: {
    'Arguments:': {
      SNAPSHOT: 'a read-only snapshot, made before the changes',
      FILE: 'the new snapback; it takes a target that equals DEVICE back to the state of SNAPSHOT: lvmsync --apply FILE TARGET',
    },
  },
  examples: ['lvmsync snapback vg/vm-base -o vm.undo --data-source vg/vm-new'],
};

/** Makes an undo from the old bytes in the snapshot itself. */
export function snapbackCommand(context: Context) {
  const command = new Command('snapback')
    .description('Save the old bytes of what changed since a snapshot, without reading any target.')
    .usage(USAGE)
    .argument('[words...]')
    .addOption(dataSourceOption());
  return withStoreFiles(command)
    .addOption(
      forceOption('writable', 'SNAPSHOT or DEVICE is writable, but nothing wrote to it').helpGroup(
        SOURCE_GROUP,
      ),
    )
    .addOption(outOption())
    .addOption(codecOption())
    .addOption(jsonOption())
    .addHelpText('after', moreHelp(HELP))
    .action(async (words, { codec, force, json, ...given }) => {
      const out = required(given.out, '--out FILE', 'snapback');
      const { spec, rest } = takeSource(words, given);
      refuseMore(rest);
      const options = { codec: codec ?? null, forceWritable: force.includes('writable') };
      const summary = await makeSnapback(spec, out, options, context.surroundings('normal'));
      const { tableBytes, savedBytes, size, seconds } = summary;
      if (json === true) {
        context.stdout.write(`${JSON.stringify({ out, ...summary })}\n`);
        return;
      }
      context.say(
        `${out}: saved ${formatBytes(savedBytes)} of old bytes (the snapshot marks ${formatBytes(tableBytes)} as changed) ` +
          `in a file of ${formatBytes(size)}, in ${formatDuration(seconds)}`,
      );
    });
}
