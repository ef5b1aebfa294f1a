import { Command } from '@commander-js/extra-typings';
import { makeSnapback } from '../../jobs/snapback.js';
import type { Context } from '../context.js';
import { forceOneOption } from '../options/policy.js';
import { dataSourceOption } from '../options/source.js';
import { jsonOption } from '../options/talk.js';
import { codecOption } from '../options/traffic.js';
import { formatBytes, formatDuration } from '../terminal.js';
import { refuseMore, takeSource } from './words.js';

const USAGE = `[options] SNAPSHOT -o FILE
       lvmsync snapback [options] --cow FILE --origin FILE -o FILE`;

const HELP_AFTER = `
Arguments:
  SNAPSHOT  a read-only snapshot, made before the changes
  FILE      the new snapback; it takes a target that equals DEVICE back to the
            state of SNAPSHOT: lvmsync --apply FILE TARGET

Example:
  lvmsync snapback vg/vm-base -o vm.undo --data-source vg/vm-new`;

/** Makes an undo from the old bytes in the snapshot itself. */
export function snapbackCommand(context: Context) {
  return new Command('snapback')
    .description('Save the old bytes of what changed since a snapshot, without reading any target.')
    .usage(USAGE)
    .argument('[words...]')
    .requiredOption('-o, --out <file>', 'the new archive; an existing file is never overwritten')
    .addOption(dataSourceOption())
    .option('--cow <file>', 'the exception store of the snapshot, as a file or device (with --origin)')
    .option('--origin <file>', 'the volume, as a file or device (with --cow)')
    .addOption(codecOption())
    .addOption(forceOneOption('writable', 'SNAPSHOT or DEVICE is writable, but nothing wrote to it'))
    .addOption(jsonOption())
    .addHelpText('after', HELP_AFTER)
    .action(async (words, { out, codec, force, json, ...sourceOptions }) => {
      const { spec, rest } = takeSource(words, sourceOptions);
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
