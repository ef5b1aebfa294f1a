import { Command, Option } from '@commander-js/extra-typings';
import { notAnArchive } from '../../archive/scan-archive.js';
import { UsageError, type FormatError } from '../../errors.js';
import { transfer, type Destination, type Protocol } from '../../jobs/transfer.js';
import { ForeignLineError } from '../../stream/incoming-stream.js';
import { sinkFrom } from '../../transport/stream-channel.js';
import { parseTargetSpec } from '../../transport/target-spec.js';
import type { Context } from '../context.js';
import { moreHelp } from '../help.js';
import { policyOf, withPolicy, type PolicyOptions } from '../options/policy.js';
import { reachOf, retryOption, withReach, type ReachOptions } from '../options/reach.js';
import {
  comparisonOf,
  isQuiesced,
  SOURCE_GROUP,
  takeSource,
  withComparison,
  withSource,
  withStoreFiles,
  type ComparisonOptions,
  type InUseOptions,
  type SourceOptions,
} from '../options/source.js';
import { verbosityOf, withTalk, type TalkOptions } from '../options/talk.js';
import { trafficOf, withTraffic, type TrafficOptions } from '../options/traffic.js';
import { checkSuspect, sayApplied, sayTransferred } from '../reports/summary.js';
import { openStream } from '../standard-input.js';
import { refuseCommandNames, refuseMore, type CommandName } from './words.js';

const USAGE = `[options] SNAPSHOT [HOST:]TARGET
       lvmsync [options] SNAPSHOT --stdout
       lvmsync [options] --cow FILE --origin FILE [HOST:]TARGET|--stdout
       lvmsync [options] --scan DEVICE [HOST:]TARGET
       lvmsync [options] -a|--apply FILE|- TARGET
       lvmsync COMMAND …`;

const SUMMARIES: Readonly<Record<CommandName, string>> = {
  inspect: 'show what changed in a snapshot or store, or what a stream holds',
  copy: 'make the first copy of a volume; after that, changes can be sent',
  pull: 'fetch changes from another host and write them to a TARGET here',
  recover: 'take TARGET back after an interrupted run',
  receive: 'run the receiving side of a transfer; the sender starts it over ssh',
  send: 'run the sending side of a pull; pull starts it over ssh',
  verify: 'compare two volumes by digests, and repair what differs',
  doctor: 'check whether this host and another can do a transfer',
  snapback: 'save the old bytes of what changed, without reading any target',
  combine: 'combine several snapbacks or stream files into one',
  archive: 'list, check and prune a directory of snapbacks',
  restore: 'take TARGET back to an earlier time, using snapbacks',
  view: 'show a volume as it was at an earlier time, using snapbacks',
};

const HELP = {
  lists: {
    'Arguments:': {
      SNAPSHOT: 'a classic or thin snapshot, made before the changes: vg/lv, /dev/vg/lv, /dev/mapper/…',
      TARGET:
        'the volume (vg/lv), block device or image file to write; it must hold the state of SNAPSHOT (with --scan, it may hold anything)',
      DEVICE: 'a snapshot, volume, partition or image file on this host',
      HOST: '[user@]host; to give a port, write HOST and TARGET together as ssh://user@host:port/dev/…',
    },
    'Commands (lvmsync COMMAND --help):': SUMMARIES,
  },
  examples: [
    'lvmsync vg/vm-snap backup:/dev/vg/vm           send changes since vm-snap',
    'lvmsync vg/vm-snap backup:/dev/vg/vm -b /var/lib/vm.undo',
    'lvmsync --apply /var/lib/vm.undo /dev/vg/vm    on backup: take it back',
  ],
};

/** The transfer: what lvmsync does if its first argument is not a command. The options are those of the Ruby tool. */
export function transferCommand(context: Context) {
  const command = new Command('lvmsync')
    .description('Send what changed in a volume since a snapshot, and write it to TARGET.')
    .usage(USAGE)
    .argument('[words...]')
    .optionsGroup(SOURCE_GROUP)
    .option('-a, --apply <file>', 'apply a stream or snapback FILE (- for standard input) to TARGET')
    .option('--server', 'the same as --apply -')
    .option(
      '--scan <device>',
      'send what differs between DEVICE and TARGET: both sides read everything (not with --stdout: TARGET has to answer)',
    );
  const sending = withComparison(withStoreFiles(withSource(command)))
    .option('-s, --stdout', 'write the stream to standard output')
    .addOption(
      new Option('--protocol <n>', 'stream format; 3 is the Ruby tool’s').choices(['3', '4']).default('4'),
    );
  const connected = withTraffic(withReach(sending).addOption(retryOption()));
  return withTalk(withPolicy(connected))
    .version(`lvmsync ${context.version}`, '-V, --version', 'print the version')
    .addHelpText('after', moreHelp(HELP))
    .action(async (words, parsed, command) => {
      const options = { ...parsed, given: givenTo(command) };
      refuseCommandNames(words);
      if (options.apply !== undefined || options.server === true) await runApply(words, options, context);
      else if (options.scan !== undefined) await runScan(options.scan, words, options, context);
      else await runTransfer(words, options, context);
    });
}

/** The options as parsed; both forms share them. */
interface TransferOptions
  extends
    PolicyOptions,
    ReachOptions,
    TalkOptions,
    TrafficOptions,
    SourceOptions,
    ComparisonOptions,
    InUseOptions {
  readonly apply?: string | undefined;
  readonly server?: true | undefined;
  readonly stdout?: true | undefined;
  readonly scan?: string | undefined;
  readonly protocol: '3' | '4';
  /** The flags of all options that were given. */
  readonly given: readonly string[];
}

/** The flags of all options on the command line. */
function givenTo(command: Pick<Command, 'options' | 'getOptionValueSource'>): string[] {
  const given = command.options.filter(
    (option) => command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  return flagsOf({ options: given });
}

async function runApply(words: readonly string[], options: TransferOptions, context: Context): Promise<void> {
  refuseAudit(
    options,
    'a stream in a file or pipe holds only what changed (use "lvmsync verify" to compare volumes)',
  );
  refuseOthers('--apply', TAKEN_BY_APPLY, options.given);
  const [target, ...more] = words;
  if (target === undefined) throw new UsageError('--apply needs a TARGET: a block device or an image file');
  refuseMore(more);
  const surroundings = context.surroundings(verbosityOf(options));
  const { apply } = await import('../../jobs/apply.js');
  const stream = await openStream(options.apply ?? '-', context.input);
  try {
    const summary = await apply(stream, { path: target, policy: policyOf(options) }, surroundings).catch(
      (error: unknown) => {
        const isFile = (options.apply ?? '-') !== '-';
        throw isFile && error instanceof ForeignLineError ? notToApply(stream.name) : error;
      },
    );
    sayApplied(summary, { source: stream.name, target }, options, context);
    checkSuspect(summary, target);
  } finally {
    stream.close();
  }
}

async function runTransfer(
  words: readonly string[],
  options: TransferOptions,
  context: Context,
): Promise<void> {
  const { spec: source, rest } = takeSource(words, options);
  const spec =
    isQuiesced(options) && source.kind === 'snapshot' ? { ...source, quiesced: true as const } : source;
  const protocol: Protocol = options.protocol === '3' ? 3 : 4;
  if (options.stdout === true)
    refuseAudit(options, 'it needs answers from the target, and a pipe cannot give any');
  if (protocol === 3)
    refuseAudit(options, 'it needs answers from the target, and a Ruby lvmsync cannot give any');
  const destination = destinationOf(rest, options, context);
  if (protocol === 3) refuseOthers('--protocol 3', TAKEN_BY_RUBY_TOOL, options.given);
  const summary = await transfer(
    spec,
    {
      ...{ destination, protocol, reach: reachOf(options, context) },
      how: { ...comparisonOf(options), ...trafficOf(options, options.stdout === true) },
    },
    context.surroundings(verbosityOf(options)),
  );
  sayTransferred(summary, rest[0] ?? '-', options, context);
  checkSuspect(summary, rest[0] ?? '-');
}

async function runScan(
  device: string,
  words: readonly string[],
  options: TransferOptions,
  context: Context,
): Promise<void> {
  refuseAudit(options, '--scan compares everything');
  if (options.stdout === true) {
    throw new UsageError(
      '--stdout cannot be used with --scan: a pipe cannot send the digests of the target; give a [HOST:]TARGET',
    );
  }
  if (options.protocol === '3') {
    throw new UsageError(
      '--protocol 3 cannot be used with --scan: a Ruby lvmsync cannot send the digests of the target',
    );
  }
  refuseOthers('--scan', TAKEN_BY_SCAN, options.given);
  const destination = destinationOf(words, options, context);
  if (destination.kind !== 'target') throw new UsageError('missing argument: [HOST:]TARGET');
  const { scan } = await import('../../jobs/scan.js');
  const summary = await scan(
    device,
    {
      ...{ destination, reach: reachOf(options, context) },
      how: { proofs: true, ...trafficOf(options, false) },
    },
    context.surroundings(verbosityOf(options)),
    isQuiesced(options),
  );
  sayTransferred(summary, words[0] ?? '', { ...options, foundBy: 'scan' }, context);
}

/** The error for a file that is not a stream: the user may have given the target first. */
function notToApply(file: string): FormatError {
  return notAnArchive(
    file,
    '; give the file to apply first, and then the target: lvmsync --apply FILE TARGET',
  );
}

function destinationOf(rest: readonly string[], options: TransferOptions, context: Context): Destination {
  if (options.stdout === true) {
    // The Ruby tool accepts a target here and ignores it; scripts rely on that.
    refuseMore(rest.slice(1));
    const [useless] = options.given.filter((flag) => ['--snapback', '--json', '--dry-run'].includes(flag));
    if (useless !== undefined) throw new UsageError(`${useless} cannot be used with --stdout`);
    if (context.stdout.isTTY === true)
      throw new UsageError('--stdout: standard output is a terminal: redirect it to a file or a pipe');
    return { kind: 'pipe', sink: sinkFrom(context.stdout, 'standard output') };
  }
  const [target, ...more] = rest;
  if (target === undefined) throw new UsageError('missing argument: [HOST:]TARGET or --stdout');
  refuseMore(more);
  const spec = parseTargetSpec(target);
  if (options.protocol === '3' && spec.kind === 'local') {
    throw new UsageError('--protocol 3 needs --stdout, or a TARGET on another host that has a Ruby lvmsync');
  }
  return { kind: 'target', spec, policy: policyOf(options) };
}

/** Throws UsageError if --audit was given; `why` is the reason that it cannot be used. */
function refuseAudit({ audit }: TransferOptions, why: string): void {
  if (audit !== undefined) throw new UsageError(`--audit cannot be used here: ${why}`);
}

/* What can be used with one form of a transfer. Everything else is refused, and so is an option that is new. */

const EVERYWHERE = ['--stdout', '--protocol', ...flagsOf(withTalk(new Command()))];

const TAKEN_BY_APPLY = ['--apply', '--server', '--protocol', ...flagsOf(withTalk(withPolicy(new Command())))];

/** A scan uses no old bytes, and proves that the rest is still equal. */
const TAKEN_BY_SCAN = [
  ...['--scan', '--live', '--quiesced', ...EVERYWHERE],
  ...flagsOf(withTraffic(withReach(withPolicy(new Command())).addOption(retryOption()))),
];

/** The Ruby tool does not answer, keeps no journal and no record, and cannot read sections. */
const TAKEN_BY_RUBY_TOOL = [
  ...[...flagsOf(withStoreFiles(withSource(new Command()))), '--whole-chunks', '--bwlimit', '--snapback'],
  ...[...flagsOf(withReach(new Command())), ...EVERYWHERE],
];

function flagsOf(group: Pick<Command, 'options'>): string[] {
  return group.options.map((option) => option.long ?? option.flags);
}

/** Throws UsageError for the first given flag that cannot be used with `main`. */
function refuseOthers(main: string, taken: readonly string[], given: readonly string[]): void {
  const [flag] = given.filter((each) => !taken.includes(each));
  if (flag !== undefined) throw new UsageError(`${flag} cannot be used with ${main}`);
}
