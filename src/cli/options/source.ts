import { InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';

/*
 * What the sender reads, and how. Each option is defined once, for every command that has it.
 */

export const dataSourceOption = () =>
  new Option(
    '-r, --data-source <device>',
    'read the new bytes from DEVICE: a later snapshot of the same volume',
  );

export const wholeChunksOption = () =>
  new Option(
    '--whole-chunks',
    'send all changed chunks whole: do not read the old bytes, do not prove anything',
  );

export const blockSizeOption = () =>
  new Option(
    '--block-size <n>',
    'compare old and new bytes in blocks of this size, and send those that differ (512 to 1M, default: 4K)',
  ).argParser(parseBlockSize);

export const liveOption = () =>
  new Option('--live', 'accept that a volume in use does not give a consistent point-in-time copy');

export const quiescedOption = () =>
  new Option(
    '--quiesced',
    'declare that nothing writes to a volume in use: file system frozen, or virtual machine paused',
  );

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

export const auditOption = () =>
  new Option(
    '--audit <percent>',
    'also compare this share of what did not change; each run continues where the last one stopped',
  ).argParser(parsePercent);

/** How much of what did not change is compared, and the options that exclude it, as parsed. */
export interface AuditOptions {
  readonly audit?: number | undefined;
  readonly wholeChunks?: true | undefined;
  readonly dryRun?: true | undefined;
}

/** How much to audit. Throws UsageError if another option proves nothing, or writes no record. */
export function auditOf({ audit, wholeChunks, dryRun }: AuditOptions): { readonly audit?: number } {
  if (audit === undefined) return {};
  if (wholeChunks === true)
    throw new UsageError('--audit cannot be used with --whole-chunks, which proves nothing');
  if (dryRun === true) throw new UsageError('--audit cannot be used with --dry-run, which writes no record');
  return { audit };
}

/** Parses a share in percent. Throws UsageError. */
export function parsePercent(word: string): number {
  const percent = /^\d+(\.\d+)?$/.test(word) ? Number(word) : 0;
  if (percent > 0 && percent <= 100) return percent;
  throw new UsageError(`--audit ${word}: expected a percentage, more than 0 and at most 100`);
}

/** How old bytes are used, as parsed. */
export interface OldBytesOptions {
  readonly wholeChunks?: true | undefined;
  readonly blockSize?: number | undefined;
}

/** These options by their flags, as given. */
export function givenOldBytes({ wholeChunks, blockSize }: OldBytesOptions): Record<string, unknown> {
  return { '--whole-chunks': wholeChunks, '--block-size': blockSize };
}

/** How to use old bytes, according to the options. Throws UsageError if the options contradict each other. */
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
  throw new InvalidArgumentError('Expected a power of two from 512 to 1M bytes, such as 512, 4K or 64K.');
}
