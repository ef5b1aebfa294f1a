import { InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';

/*
 * What is read and how, at the sender: each option defined once, for every command that has one.
 */

export const dataSourceOption = () =>
  new Option('-r, --data-source <device>', 'read new bytes there: a later snapshot of the same volume');

export const wholeChunksOption = () =>
  new Option('--whole-chunks', 'use no old bytes: send all that is named as changed, and prove nothing');

export const blockSizeOption = () =>
  new Option(
    '--block-size <n>',
    'compare old and new bytes in blocks of so many (4K; 512 to 1M), and send those that differ',
  ).argParser(parseBlockSize);

export const liveOption = () =>
  new Option('--live', 'read a volume in use, knowing that TARGET will hold no single moment’s state');

/** How old bytes are used, as parsed. */
export interface OldBytesOptions {
  readonly wholeChunks?: true | undefined;
  readonly blockSize?: number | undefined;
}

/** What was given of these options, by their flags. */
export function givenOldBytes({ wholeChunks, blockSize }: OldBytesOptions): Record<string, unknown> {
  return { '--whole-chunks': wholeChunks, '--block-size': blockSize };
}

/** How the options ask old bytes to be used. Throws UsageError where they contradict each other. */
export function oldBytesOf({ wholeChunks, blockSize }: OldBytesOptions) {
  if (wholeChunks === true && blockSize !== undefined) {
    throw new UsageError('--block-size cannot be used with --whole-chunks, which compares nothing');
  }
  return { proofs: wholeChunks !== true, ...(blockSize === undefined ? {} : { blockSize }) };
}

const SMALLEST_BLOCK = 512;
const LARGEST_BLOCK = 1024 * 1024;

function parseBlockSize(value: string): number {
  const [, digits = '', letter = ''] = /^(\d{1,7})([km]?)$/i.exec(value) ?? [];
  const size = Number(digits) * (letter === '' ? 1 : letter.toLowerCase() === 'k' ? 1024 : 1024 * 1024);
  const isPower = Number.isInteger(Math.log2(size));
  if (digits !== '' && isPower && size >= SMALLEST_BLOCK && size <= LARGEST_BLOCK) return size;
  throw new InvalidArgumentError('a power of two from 512 to 1M bytes: 512, 4K, 64K.');
}
