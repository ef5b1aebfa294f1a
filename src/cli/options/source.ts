import { InvalidArgumentError, Option, type Command, type OptionValues } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import type { SourceSpec } from '../../sources/open-source.js';

/* What the sender reads, and what it compares. */

export const SOURCE_GROUP = 'Source:';
export const SENT_GROUP = 'What is sent:';

/** Adds the options of a command that sends what changed since a snapshot. */
export function withSource<Args extends unknown[], Opts extends OptionValues>(command: Command<Args, Opts>) {
  return command
    .optionsGroup(SOURCE_GROUP)
    .addOption(dataSourceOption())
    .option('--live', 'accept that a volume in use does not give a consistent point-in-time copy')
    .addOption(quiescedOption());
}

/** Adds the options that name a snapshot's store and its volume instead of the snapshot. */
export function withStoreFiles<Args extends unknown[], Opts extends OptionValues>(
  command: Command<Args, Opts>,
) {
  return command
    .optionsGroup(SOURCE_GROUP)
    .option('--cow <file>', 'the exception store of the snapshot, as a file or device (with --origin)')
    .option('--origin <file>', 'the volume, as a file or device (with --cow)');
}

/** Adds the options that say what is compared before it is sent. */
export function withComparison<Args extends unknown[], Opts extends OptionValues>(
  command: Command<Args, Opts>,
) {
  return command
    .optionsGroup(SENT_GROUP)
    .option(
      '--block-size <n>',
      'compare old and new bytes in blocks of this size, and send those that differ (512 to 1M, default: 4K)',
      parseBlockSize,
    )
    .option(
      '--whole-chunks',
      'send all changed chunks whole: do not read the old bytes, do not prove anything',
    )
    .option(
      '--audit <percent>',
      'also compare this share of what did not change; each run continues where the last one stopped',
      parsePercent,
    );
}

export const dataSourceOption = () =>
  new Option(
    '-r, --data-source <device>',
    'read the new bytes from DEVICE: a later snapshot of the same volume',
  ).helpGroup(SOURCE_GROUP);

export const quiescedOption = () =>
  new Option(
    '--quiesced',
    'declare that nothing writes to a volume in use: file system frozen, or virtual machine paused',
  ).helpGroup(SOURCE_GROUP);

/** What the user declares about a volume in use, as parsed. */
export interface InUseOptions {
  readonly live?: true | undefined;
  readonly quiesced?: true | undefined;
}

/** Whether the user declares that nothing writes. Throws UsageError if --live says the opposite. */
export function isQuiesced({ live, quiesced }: InUseOptions): boolean {
  if (quiesced === true && live === true) {
    throw new UsageError(
      '--quiesced cannot be used with --live: one says that nothing writes to the volume, the other that something may',
    );
  }
  return quiesced === true;
}

/** Parses a share in percent. Throws UsageError. */
export function parsePercent(word: string): number {
  const percent = /^\d+(\.\d+)?$/.test(word) ? Number(word) : 0;
  if (percent > 0 && percent <= 100) return percent;
  throw new UsageError(`--audit ${word}: expected a percentage, more than 0 and at most 100`);
}

/** The options that name a source in files. */
export interface SourceOptions {
  readonly cow?: string | undefined;
  readonly origin?: string | undefined;
  readonly dataSource?: string | undefined;
}

/** Takes the source from the arguments: SNAPSHOT, unless `--cow` and `--origin` are given. Returns the rest too. */
export function takeSource(
  words: readonly string[],
  options: SourceOptions,
): { spec: SourceSpec; rest: string[] } {
  const { cow, origin, dataSource } = options;
  const more = dataSource === undefined ? {} : { dataSource };
  if (cow !== undefined && origin !== undefined) {
    return { spec: { kind: 'files', cow, origin, ...more }, rest: [...words] };
  }
  if (cow !== undefined || origin !== undefined) {
    throw new UsageError('--cow FILE and --origin FILE must be used together');
  }
  const [name, ...rest] = words;
  if (name === undefined)
    throw new UsageError('missing argument: SNAPSHOT, or --cow FILE and --origin FILE (see lvmsync --help)');
  return { spec: { kind: 'snapshot', name, ...more }, rest };
}

/** What is compared, as parsed, and an option that excludes an audit. */
export interface ComparisonOptions {
  readonly wholeChunks?: true | undefined;
  readonly blockSize?: number | undefined;
  readonly audit?: number | undefined;
  readonly dryRun?: true | undefined;
}

/** What to compare, according to the options. Throws UsageError if the options contradict each other. */
export function comparisonOf({ wholeChunks, blockSize, audit, dryRun }: ComparisonOptions) {
  if (wholeChunks === true && blockSize !== undefined) {
    throw new UsageError('--block-size cannot be used with --whole-chunks, which compares nothing');
  }
  if (wholeChunks === true && audit !== undefined)
    throw new UsageError('--audit cannot be used with --whole-chunks, which proves nothing');
  if (dryRun === true && audit !== undefined)
    throw new UsageError('--audit cannot be used with --dry-run, which writes no record');
  return {
    proofs: wholeChunks !== true,
    ...(blockSize === undefined ? {} : { blockSize }),
    ...(audit === undefined ? {} : { audit }),
  };
}

const SMALLEST_BLOCK = 512;
const LARGEST_BLOCK = 1024 * 1024;

function parseBlockSize(value: string): number {
  const [, digits = '', letter = ''] = /^(\d{1,7})([km]?)$/i.exec(value) ?? [];
  const size = Number(digits) * (letter === '' ? 1 : letter.toLowerCase() === 'k' ? 1024 : 1024 * 1024);
  const isPower = Number.isInteger(Math.log2(size));
  if (digits !== '' && isPower && size >= SMALLEST_BLOCK && size <= LARGEST_BLOCK) return size;
  throw new InvalidArgumentError('Expected a power of two from 512 to 1M bytes, such as 512, 4K or 64K.');
}
