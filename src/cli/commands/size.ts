import { InvalidArgumentError } from '@commander-js/extra-typings';

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
