import { createRequire } from 'node:module';
import zlib from 'node:zlib';
import type { Extent } from './extent.js';
const ZEROES = Buffer.alloc(1024 * 1024);

/** Whether every byte is zero. Exact, and as fast as memory is read. */
export function isZero(bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length; done += ZEROES.length) {
    const piece = bytes.subarray(done, done + ZEROES.length);
    if (ZEROES.compare(piece, 0, piece.length, 0, piece.length) !== 0) return false;
  }
  return true;
}

/**
 * The runs in which two states of the same bytes differ, in whole units from their first byte: ascending, with
 * neighbours joined. `start` is added to the offsets.
 */
export function findDifferingRuns(old: Buffer, now: Buffer, unit: number, start = 0): Extent[] {
  const found: { offset: number; length: number }[] = [];
  const search = (from: number, to: number): void => {
    if (now.compare(old, from, to, from, to) === 0) return;
    if (to - from > unit) {
      // By halves: equal bytes mostly come in long stretches, which then need few comparisons.
      const middle = from + Math.ceil((to - from) / unit / 2) * unit;
      search(from, middle);
      search(middle, to);
      return;
    }
    const last = found.at(-1);
    if (last !== undefined && last.offset + last.length === start + from) last.length += to - from;
    else found.push({ offset: start + from, length: to - from });
  };
  if (now.length > 0) search(0, now.length);
  return found;
}

/** Fewer bytes than this cost less in Node's own call than in the library's. */
const SHORT = 512;

/** CRC-32's polynomial without its highest term, bits reversed: bit 31 stands for 1. */
const POLYNOMIAL = 0xedb8_8320;
const ONE = 0x8000_0000;
/** x to the 8: one more byte multiplies a checksum by this. */
const BYTE = 0x0080_0000;
/** Only few different lengths occur: those of blocks. */
const REMEMBERED = 4096;

type Crc32 = (bytes: Uint8Array, before: number) => number;

/** Uses the processor's own instructions, which is several times faster; null where it has no build for this system. */
const fast = load();

function load(): Crc32 | null {
  try {
    return (createRequire(import.meta.url)('@node-rs/crc32') as { crc32: Crc32 }).crc32;
  } catch {
    return null;
  }
}

/**
 * The CRC-32 of zlib, gzip and Ethernet (polynomial 0x04C11DB7, bits reversed).
 *
 * @param before the CRC-32 of the bytes before these
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  // For an empty piece without memory, Node's crc32 would return 0.
  if (bytes.length === 0) return before;
  return fast === null || bytes.length < SHORT ? zlib.crc32(bytes, before) : fast(bytes, before);
}

/** Fewer bytes than this cost less here than in a call with a view of them. */
const FEW = 128;

/** The CRC-32 of each byte alone. */
const OF_BYTE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ POLYNOMIAL;
  return crc;
});

/** The same of the bytes from one index to before another. */
export function crc32Between(bytes: Buffer, from: number, to: number, before = 0): number {
  if (to - from >= FEW) return crc32(bytes.subarray(from, to), before);
  let crc = ~before;
  for (let at = from; at < to; at++) crc = (OF_BYTE[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}

const factors = new Map<number, number>();

/**
 * The CRC-32 of two pieces together, from their own CRCs, without reading their bytes again. `length` is the length of
 * the second piece. (A CRC is the remainder of a division: bytes that follow multiply it by a power of x.)
 */
export function joinChecksums(first: number, second: number, length: number): number {
  return (multiply(factorOf(length), first) ^ second) >>> 0;
}

function factorOf(length: number): number {
  const known = factors.get(length);
  if (known !== undefined) return known;
  let factor = ONE;
  let power = BYTE;
  for (let rest = length; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) factor = multiply(power, factor);
    power = multiply(power, power);
  }
  if (factors.size === REMEMBERED) factors.clear();
  factors.set(length, factor);
  return factor;
}

/** The product of two remainders, as a remainder. Without branches: which bits are set cannot be predicted. */
function multiply(left: number, right: number): number {
  let product = 0;
  for (let bit = 0, shifted = right; bit < 32; bit++) {
    product ^= shifted & ((left << bit) >> 31);
    shifted = (shifted >>> 1) ^ (POLYNOMIAL & -(shifted & 1));
  }
  return product >>> 0;
}
