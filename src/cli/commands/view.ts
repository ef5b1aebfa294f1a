import { Command } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { viewClose, viewList, viewOpen, viewStore } from '../../jobs/view.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { proto3Option } from '../options/archive.js';
import { forceOption, NOT_THE_BASE, stateDirOption } from '../options/policy.js';
import { jsonOption } from '../options/talk.js';
import { parseSize } from '../options/traffic.js';
import {
  describeOpened,
  describeStorePlan,
  openedJson,
  viewLines,
  viewsJson,
} from '../reports/view-report.js';
import { print } from '../standard-output.js';
import { refuseMore, unknownAction } from './words.js';

const USAGE = `open [options] NAME TARGET ARCHIVE...
       lvmsync view close [options] NAME
       lvmsync view list [options]
       lvmsync view store [options] OUT ARCHIVE...`;

const HELP = {
  lists: {
    'Arguments:': {
      NAME: 'the name of the view: /dev/VG/NAME for a view of a logical volume, /dev/mapper/NAME for any other',
      TARGET: 'the volume or image file on this host to look at',
      ARCHIVE: 'snapback files, in the order in which you would apply them',
      OUT: 'a new file for the store alone, in the format of dm-snapshot',
    },
  },
  examples: [
    'lvmsync view open tuesday /dev/vg/vm vm.undo.3 vm.undo.2',
    'mount -o ro /dev/vg/tuesday /mnt',
    'umount /mnt && lvmsync view close tuesday',
  ],
};

interface ViewWords {
  readonly spare?: number | undefined;
  readonly dir?: string | undefined;
  readonly target?: string | undefined;
  readonly proto3?: 'changes' | 'undo' | undefined;
  readonly force: readonly string[];
  readonly stateDir?: string | undefined;
  readonly json?: true | undefined;
}

/** Shows a volume as it was at an earlier time, in a device of its own. */
export function viewCommand(context: Context) {
  return new Command('view')
    .description('Show a volume as it was at an earlier time, without changing it.')
    .usage(USAGE)
    .argument('<action>')
    .argument('[words...]')
    .optionsGroup('Store of the view:')
    .option('--spare <size>', 'space in the store for later writes, such as 500M or 2G', parseSize)
    .option('--dir <dir>', 'directory for the store, if TARGET is an image file or a plain device')
    .option(
      '--target <device>',
      'with store: the device to read the rest of a chunk from if ARCHIVE has only part of it',
    )
    .addOption(proto3Option())
    .addOption(forceOption('base', NOT_THE_BASE))
    .addOption(stateDirOption())
    .addOption(jsonOption())
    .addHelpText('after', moreHelp(HELP))
    .action(async (action, words, options) => {
      for await (const text of act(action, words, options, context)) {
        await print(context.stdout, text);
      }
    });
}

/** Runs the action, and yields the text for stdout. */
async function* act(
  action: string,
  words: readonly string[],
  options: ViewWords,
  context: Context,
): AsyncGenerator<string> {
  refuseMisplaced(action, options);
  const env = context.surroundings('normal');
  const { stateDir = null, proto3 = null, spare = null, dir = null, force, json } = options;
  const forceBase = force.includes('base');
  const [first, second, ...rest] = words;
  switch (action) {
    case 'open': {
      if (first === undefined || second === undefined || rest.length === 0) throw missing();
      const wish = { stateDir, proto3, forceBase, targetName: second, spareBytes: spare, storeFolder: dir };
      const opened = await viewOpen(first, rest, wish, env);
      if (json === true) yield openedJson(opened);
      else for (const line of describeOpened(opened)) context.say(line);
      return;
    }
    case 'close': {
      if (first === undefined) throw missing();
      refuseMore(words.slice(1));
      const outcome = await viewClose(first, stateDir, env);
      if (outcome === 'closed') context.say(`${first}: closed`);
      else if (outcome === 'cleaned up')
        context.say(`${first}: removed what an interrupted run had left behind`);
      else
        context.say(
          `${first}: LVM is merging it into its volume and will finish on its own; its record is removed`,
        );
      return;
    }
    case 'list': {
      refuseMore(words);
      const views = await viewList(stateDir, env);
      yield* json === true ? [viewsJson(views)] : viewLines(views);
      return;
    }
    case 'store': {
      if (first === undefined || second === undefined) throw missing();
      const wish = { stateDir, proto3, forceBase, targetName: options.target ?? null, spareBytes: spare };
      const plan = await viewStore(first, [second, ...rest], wish, env);
      context.say(describeStorePlan(first, plan));
      return;
    }
    default:
      throw unknownAction('view', action, ['open', 'close', 'list', 'store']);
  }
}

function missing(): UsageError {
  return new UsageError('missing argument (see lvmsync view --help)');
}

/** Throws UsageError for an option that the action would ignore. */
function refuseMisplaced(
  action: string,
  { dir, target, spare, proto3, force, stateDir, json }: ViewWords,
): void {
  const given = {
    '--spare': spare,
    '--dir': dir,
    '--target': target,
    '--proto3': proto3,
    '--force': force.length > 0 ? force : undefined,
    '--state-dir': stateDir,
    '--json': json,
  };
  const known: Readonly<Record<string, readonly string[]>> = {
    open: ['--spare', '--dir', '--proto3', '--force', '--state-dir', '--json'],
    close: ['--state-dir'],
    list: ['--state-dir', '--json'],
    store: ['--spare', '--target', '--proto3', '--force', '--state-dir'],
  };
  for (const [flag, value] of Object.entries(given)) {
    if (value === undefined || known[action]?.includes(flag) !== false) continue;
    throw new UsageError(`${flag} cannot be used with view ${action}`);
  }
}
