import { InvalidArgumentError, Option, type Command, type OptionValues } from '@commander-js/extra-typings';
import { CODEC_LEVELS, CODECS_BY_SPEED } from '../../codec/codec.js';
import { UsageError } from '../../errors.js';
import { NO_COMPRESSION, type CompressionWish } from '../../send/choose-packer.js';

/** The power for each letter, with and without the `i`. On these, rsync and pv agree. */
const UNITS: Readonly<Record<string, number>> = { k: 1, m: 2, g: 3, t: 4 };

/**
 * Parses a size; returns bytes. 20M and 20MiB are binary, 20MB is decimal, as in rsync. A number without a unit is
 * refused, because it means KiB to one program and bytes to another. `Mb` and `Mbit` are refused too, because they may
 * mean bits. Throws InvalidArgumentError.
 */
export function parseSize(value: string): number {
  const [, number = '', letter = '', bytes = ''] = /^(\d+(?:\.\d+)?)([kmgt]?)(iB|B|)$/i.exec(value) ?? [];
  const power = letter === '' && bytes === 'B' ? 0 : UNITS[letter.toLowerCase()];
  if (power === undefined || bytes.includes('b')) {
    throw new InvalidArgumentError(
      'Expected a number with a unit: 500K, 20M and 1.5G are powers of 1024; 20MB is 20,000,000 bytes.',
    );
  }
  const size = Math.floor(Number(number) * (bytes === 'B' ? 1000 : 1024) ** power);
  if (!Number.isSafeInteger(size)) throw new InvalidArgumentError('It is too large.');
  return size;
}

/** How data is compressed for the connection, and how fast it is sent, as parsed. */
export interface TrafficOptions {
  readonly compress?: true | undefined;
  readonly codec?: CodecWish | undefined;
  readonly bwlimit?: number | undefined;
}

type CodecWish = Exclude<CompressionWish, { kind: 'auto' }>;

const GROUP = 'Compression and speed:';

/** Adds the options of a command that sends blocks and can ask the receiver which codecs it has. */
export function withTraffic<Args extends unknown[], Opts extends OptionValues>(command: Command<Args, Opts>) {
  return command
    .optionsGroup(GROUP)
    .option('--compress', 'compress what is sent to HOST if that is faster (the default)')
    .addOption(codecOption())
    .addOption(bwlimitOption());
}

export const codecOption = () =>
  new Option(
    '--codec <name>',
    `always compress with this codec: ${CODECS_BY_SPEED.join(', ')} (NAME:LEVEL sets the level), or none`,
  )
    .argParser(parseCodec)
    .helpGroup(GROUP);

export const bwlimitOption = () =>
  new Option('--bwlimit <rate>', 'send at most this much per second: 500K, 20M, 1.5G')
    .argParser(parseRate)
    .helpGroup(GROUP);

/** How to send blocks, according to the options. Throws UsageError if the codec for a pipe is left open. */
export function trafficOf({ compress, codec, bwlimit }: TrafficOptions, isPipe: boolean) {
  if (isPipe && compress === true && codec === undefined) {
    throw new UsageError(
      '--compress cannot be used with --stdout: a pipe cannot tell which codecs its reader has; choose one (--codec zlib)',
    );
  }
  const compression: CompressionWish = codec ?? { kind: 'auto' };
  return { compression, ...(bwlimit === undefined ? {} : { bytesPerSecond: bwlimit }) };
}

function parseCodec(value: string): CodecWish {
  if (value === 'none') return NO_COMPRESSION;
  const [word, levelWord, ...more] = value.split(':');
  const name = CODECS_BY_SPEED.find((each) => each === word);
  if (name === undefined) {
    throw new InvalidArgumentError(`Expected ${CODECS_BY_SPEED.join(', ')} or none.`);
  }
  if (levelWord === undefined) return { kind: 'codec', name, level: null };
  const { least, most } = CODEC_LEVELS[name];
  const level = /^\d{1,2}$/.test(levelWord) && more.length === 0 ? Number(levelWord) : NaN;
  if (level >= least && level <= most) return { kind: 'codec', name, level };
  throw new InvalidArgumentError(`The level of ${name} must be from ${least} to ${most}.`);
}

const SLOWEST = 1024;

/** Parses a rate in the units of `parseSize`; returns bytes per second. */
function parseRate(value: string): number {
  const rate = parseSize(value.replace(/\/s$/i, ''));
  if (rate < SLOWEST) throw new InvalidArgumentError('Expected at least 1K per second.');
  return rate;
}
