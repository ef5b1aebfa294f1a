import { Command, Option } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import { viewClose, viewList, viewOpen, viewStore } from '../../jobs/view.js';
import type { Context } from '../context.js';
import { forceOption, stateDirOption } from '../options/policy.js';
import { parseSize } from '../options/traffic.js';
import {
  describeOpened,
  describeStorePlan,
  openedJson,
  viewLines,
  viewsJson,
} from '../reports/view-report.js';
import { print } from '../standard-output.js';
import { refuseMore } from './words.js';

const USAGE = `open [options] NAME TARGET ARCHIVE...
       lvmsync view close [options] NAME
       lvmsync view list [options]
       lvmsync view store [options] OUT ARCHIVE...`;

const HELP_AFTER = `
Words:
  NAME      of the view: of a logical volume it shows as /dev/VG/NAME,
            of anything else as /dev/mapper/NAME
  TARGET    the volume or image file of this host that is looked at
  ARCHIVE   snapback files, in the order in which they would be applied
  OUT       a file for the store alone, as dm-snapshot reads it

Examples:
  lvmsync view open tuesday /dev/vg/vm vm.undo.3 vm.undo.2
  mount -o ro /dev/vg/tuesday /mnt
  umount /mnt && lvmsync view close tuesday`;

interface ViewWords {
  readonly spare?: number | undefined;
  readonly dir?: string | undefined;
  readonly target?: string | undefined;
  readonly proto3?: 'changes' | 'undo' | undefined;
  readonly force: readonly string[];
  readonly stateDir?: string | undefined;
  readonly json?: true | undefined;
}

/** Shows a volume as it was, beside what it is. */
export function viewCommand(context: Context) {
  return new Command('view')
    .description('Show a volume as it was, beside it, without changing it.')
    .usage(USAGE)
    .argument('<action>', 'open, close, list or store')
    .argument('[words...]')
    .addOption(
      new Option('--spare <size>', 'room in the store for what is written later, as 500M or 2G').argParser(
        parseSize,
      ),
    )
    .option('--dir <dir>', 'of an image file or plain device: where the store lies')
    .option('--target <device>', 'with store: what has the rest of chunks that ARCHIVE has in part')
    .addOption(
      new Option('--proto3 <kind>', 'what an ARCHIVE in the Ruby tool’s format is').choices([
        'changes',
        'undo',
      ] as const),
    )
    .addOption(forceOption())
    .addOption(stateDirOption())
    .option('--json', 'print one JSON object on standard output')
    .addHelpText('after', HELP_AFTER)
    .action(async (action, words, options) => {
      for await (const text of act(action, words, options, context)) {
        await print(context.stdout, text);
      }
    });
}

/** Does what is asked for, and yields what goes to stdout. */
async function* act(
  action: string,
  words: readonly string[],
  options: ViewWords,
  context: Context,
): AsyncGenerator<string> {
  refuseMisplaced(action, options);
  const about = context.surroundings('normal');
  const { stateDir = null, proto3 = null, spare = null, dir = null, force, json } = options;
  const forceBase = force.includes('base');
  const [first, second, ...rest] = words;
  switch (action) {
    case 'open': {
      if (first === undefined || second === undefined || rest.length === 0) throw missing();
      const wish = { stateDir, proto3, forceBase, spareBytes: spare, storeFolder: dir };
      const opened = await viewOpen(first, second, rest, wish, about);
      if (json === true) yield openedJson(opened);
      else for (const line of describeOpened(opened)) context.say(line);
      return;
    }
    case 'close': {
      if (first === undefined) throw missing();
      refuseMore(words.slice(1));
      const outcome = await viewClose(first, stateDir, about);
      if (outcome === 'closed') context.say(`${first}: closed`);
      else if (outcome === 'cleaned up')
        context.say(`${first}: what a run that was cut short had left is removed`);
      else context.say(`${first}: it is being merged into its volume: forgotten, LVM sees to the rest`);
      return;
    }
    case 'list': {
      refuseMore(words);
      const views = await viewList(stateDir, about);
      yield* json === true ? [viewsJson(views)] : viewLines(views);
      return;
    }
    case 'store': {
      if (first === undefined || second === undefined) throw missing();
      const wish = { stateDir, proto3, forceBase, targetName: options.target ?? null, spareBytes: spare };
      const plan = await viewStore(first, [second, ...rest], wish, about);
      context.say(describeStorePlan(first, plan));
      return;
    }
    default:
      throw new UsageError(`${action}: open, close, list or store (see lvmsync view --help)`);
  }
}

function missing(): UsageError {
  return new UsageError('words are missing (see lvmsync view --help)');
}

/** Throws UsageError for an option that the action does not know: it would promise what is not done. */
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
