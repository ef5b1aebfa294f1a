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

export const quiescedOption = () =>
  new Option('--quiesced', 'vouch that a volume in use is at rest: file system frozen, or machine paused');

/** What is said of a volume in use that is read, as parsed. */
export interface InUseOptions {
  readonly live?: true | undefined;
  readonly quiesced?: true | undefined;
}

/** Whether the user vouches that nobody writes. Throws UsageError where it is also said that somebody may. */
export function isQuiesced({ live, quiesced }: InUseOptions): boolean {
  if (quiesced === true && live === true) {
    throw new UsageError('--quiesced says that nobody writes, --live that somebody may: take one of them');
  }
  return quiesced === true;
}

export const auditOption = () =>
  new Option(
    '--audit <percent>',
    'compare so much of what did not change, too; each run goes on where the last one ended',
  ).argParser(parsePercent);

/** How much of what did not change is compared, and what goes together with that, as parsed. */
export interface AuditOptions {
  readonly audit?: number | undefined;
  readonly wholeChunks?: true | undefined;
  readonly dryRun?: true | undefined;
}

/** How much is to be audited. Throws UsageError beside what proves nothing. */
export function auditOf({ audit, wholeChunks, dryRun }: AuditOptions): { readonly audit?: number } {
  if (audit === undefined) return {};
  if (wholeChunks === true)
    throw new UsageError('--audit cannot be used with --whole-chunks, which proves nothing');
  if (dryRun === true) throw new UsageError('--audit cannot be used with --dry-run, which writes no record');
  return { audit };
}

/** A share. Throws UsageError. */
export function parsePercent(word: string): number {
  const percent = /^\d+(\.\d+)?$/.test(word) ? Number(word) : 0;
  if (percent > 0 && percent <= 100) return percent;
  throw new UsageError(`--audit ${word}: a share is more than 0 and at most 100 percent`);
}

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
