import { Command } from '@commander-js/extra-typings';
import { combine } from '../../jobs/combine.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { ARCHIVE_GROUP, outOption, proto3Option } from '../options/archive.js';
import { forceOption } from '../options/policy.js';
import { jsonOption } from '../options/talk.js';
import { codecOption } from '../options/traffic.js';
import { countOf, formatBytes, formatDuration } from '../../bytes/amounts.js';
import { required } from './words.js';

const HELP = {
  lists: {
    'Arguments:': {
      FILE: 'snapbacks or stream files, in the order in which you would apply them (snapbacks: the newest first)',
    },
  },
  examples: ['lvmsync combine -o week.undo sun.undo sat.undo fri.undo'],
};

/** Combines several archives into one. */
export function combineCommand(context: Context) {
  return new Command('combine')
    .description(
      'Combine several archives into one. Applying it has the same effect as applying each in turn.',
    )
    .usage('[options] -o OUT FILE...')
    .argument('<file...>')
    .addOption(outOption())
    .addOption(proto3Option())
    .addOption(forceOption('base', 'the archives do not seem to follow each other').helpGroup(ARCHIVE_GROUP))
    .addOption(codecOption())
    .addOption(jsonOption())
    .addHelpText('after', moreHelp(HELP))
    .action(async (files, { codec, proto3, force, json, ...given }) => {
      const out = required(given.out, '--out FILE', 'combine');
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
        `${out}: combined ${countOf(files.length, 'archive')} (${kind}) in ${formatDuration(seconds)}: ` +
          `${formatBytes(bytes)} of the volume in a file of ${formatBytes(size)}`,
      );
    });
}
