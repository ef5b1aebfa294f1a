import { InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { CODEC_LEVELS, CODECS_BY_SPEED } from '../../codec/codec.js';
import { UsageError } from '../../errors.js';
import { NO_COMPRESSION, type CompressionWish } from '../../send/choose-packer.js';

/** What a letter stands for, with and without the `i`: what rsync and pv make of it, which agree on these. */
const UNITS: Readonly<Record<string, number>> = { k: 1, m: 2, g: 3, t: 4 };

/**
 * Bytes; 20M and 20MiB are binary, 20MB is decimal, as in rsync. A number without a unit is refused: it means KiB to
 * one program and bytes to another. So are `Mb` and `Mbit`, which may be bits. Throws InvalidArgumentError.
 */
export function parseSize(value: string): number {
  const [, number = '', letter = '', bytes = ''] = /^(\d+(?:\.\d+)?)([kmgt]?)(iB|B|)$/i.exec(value) ?? [];
  const power = letter === '' && bytes === 'B' ? 0 : UNITS[letter.toLowerCase()];
  if (power === undefined || bytes.includes('b')) {
    throw new InvalidArgumentError(
      'write the unit: 500K, 20M and 1.5G are powers of 1024, 20MB is 20,000,000 bytes.',
    );
  }
  const size = Math.floor(Number(number) * (bytes === 'B' ? 1000 : 1024) ** power);
  if (!Number.isSafeInteger(size)) throw new InvalidArgumentError('impossibly large.');
  return size;
}

/** How much goes over the line, and how fast, as parsed. */
export interface TrafficOptions {
  readonly compress?: true | undefined;
  readonly codec?: CodecWish | undefined;
  readonly bwlimit?: number | undefined;
}

type CodecWish = Exclude<CompressionWish, { kind: 'auto' }>;

export const compressOption = () =>
  new Option('--compress', 'compress what goes to HOST where that is faster (this is the default)');

export const codecOption = () =>
  new Option(
    '--codec <name>',
    `compress with this, whatever the line: ${CODECS_BY_SPEED.join(', ')}, with a level as NAME:LEVEL; or none`,
  ).argParser(parseCodec);

export const bwlimitOption = () =>
  new Option('--bwlimit <rate>', 'send at most so much a second: 500K, 20M, 1.5G').argParser(parseRate);

/** What was given of these options, by their flags. */
export function givenTraffic({ compress, codec, bwlimit }: TrafficOptions): Record<string, unknown> {
  return { ...givenCompression({ compress, codec }), '--bwlimit': bwlimit };
}

export function givenCompression({ compress, codec }: TrafficOptions): Record<string, unknown> {
  return { '--compress': compress, '--codec': codec };
}

/** How the options ask blocks to travel. Throws UsageError where a pipe shall find out by itself what to do. */
export function trafficOf({ compress, codec, bwlimit }: TrafficOptions, isPipe: boolean) {
  if (isPipe && compress === true && codec === undefined) {
    throw new UsageError(
      '--compress cannot ask who reads a pipe: name a codec that the reader has (--codec zlib)',
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
    throw new InvalidArgumentError(
      `there is no such codec; there are ${CODECS_BY_SPEED.join(', ')}, and none.`,
    );
  }
  if (levelWord === undefined) return { kind: 'codec', name, level: null };
  const { least, most } = CODEC_LEVELS[name];
  const level = /^\d{1,2}$/.test(levelWord) && more.length === 0 ? Number(levelWord) : NaN;
  if (level >= least && level <= most) return { kind: 'codec', name, level };
  throw new InvalidArgumentError(`the levels of ${name} are ${least} to ${most}.`);
}

const SLOWEST = 1024;

/** Bytes a second, as `parseSize` takes them. */
function parseRate(value: string): number {
  const rate = parseSize(value.replace(/\/s$/i, ''));
  if (rate < SLOWEST) throw new InvalidArgumentError('at least 1K a second.');
  return rate;
}
