/** CRC-32's polynomial without its highest term, bits reversed: bit 31 stands for 1. */
const POLYNOMIAL = 0xedb8_8320;
const ONE = 0x8000_0000;
/** x to the 8: one more byte multiplies a checksum by this. */
const BYTE = 0x0080_0000;
/** Only few different lengths occur: those of blocks. */
const REMEMBERED = 4096;

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

/** The product of two remainders, as a remainder. */
function multiply(left: number, right: number): number {
  let product = 0;
  for (let rest = left, shifted = right; rest !== 0; rest <<= 1) {
    if (rest < 0 || rest >= ONE) product ^= shifted;
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ POLYNOMIAL;
  }
  return product >>> 0;
}
