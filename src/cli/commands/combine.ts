import { Command } from '@commander-js/extra-typings';
import { combine } from '../../jobs/combine.js';
import type { Context } from '../context.js';
import { forceOneOption, proto3Option } from '../options/policy.js';
import { jsonOption } from '../options/talk.js';
import { codecOption } from '../options/traffic.js';
import { formatBytes, formatDuration } from '../terminal.js';

const HELP_AFTER = `
Arguments:
  FILE  snapbacks or stream files, in the order in which you would apply them
        (snapbacks: the newest first)

Example:
  lvmsync combine -o week.undo sun.undo sat.undo fri.undo`;

/** Combines several archives into one. */
export function combineCommand(context: Context) {
  return new Command('combine')
    .description(
      'Combine several archives into one. Applying it has the same effect as applying each in turn.',
    )
    .usage('[options] -o OUT FILE...')
    .argument('<file...>')
    .requiredOption('-o, --out <file>', 'the new archive; an existing file is never overwritten')
    .addOption(codecOption())
    .addOption(proto3Option())
    .addOption(forceOneOption('base', 'the archives do not seem to follow each other'))
    .addOption(jsonOption())
    .addHelpText('after', HELP_AFTER)
    .action(async (files, { out, codec, proto3, force, json }) => {
      const options = { codec: codec ?? null, proto3: proto3 ?? null, forceBase: force.includes('base') };
      const summary = await combine(out, files, options, context.surroundings('normal'));
      const { plan, size, seconds } = summary;
      const { kind, base, result, bytes, volumeSize } = plan;
      if (json === true) {
        const figures = { files: files.length, changedBytes: bytes, size, seconds };
        context.stdout.write(`${JSON.stringify({ out, kind, base, result, volumeSize, ...figures })}\n`);
        return;
      }
      context.say(
        `${out}: combined ${files.length} archives (${kind}) in ${formatDuration(seconds)}: ` +
          `${formatBytes(bytes)} of the volume in a file of ${formatBytes(size)}`,
      );
    });
}
