const SECTOR = 512;
const BLOCK = 4096;

/**
 * A chunk's bytes for a generation: the first and the last sector of each 4 KiB (or of the chunk, where that
 * is smaller) are filled with a 16-byte tag of generation and sector number, the rest is zero. So every
 * misplaced or stale block shows, and the images still compress well.
 */
export function patternedChunk(
  generation: number,
  chunk: number,
  chunkSize: number,
  volumeSize: number,
): { offset: number; bytes: Buffer } {
  const offset = chunk * chunkSize;
  const bytes = Buffer.alloc(Math.min(chunkSize, volumeSize - offset));
  const block = Math.min(BLOCK, chunkSize);
  for (let at = 0; at < bytes.length; at += SECTOR) {
    const tagged = at % block === 0 || at % block === block - SECTOR || at === bytes.length - SECTOR;
    if (tagged) bytes.fill(tagOf(generation, (offset + at) / SECTOR), at, at + SECTOR);
  }
  return { offset, bytes };
}

function tagOf(generation: number, sector: number): string {
  return `g${String(generation).padStart(2, '0')}:s${sector.toString(16).padStart(10, '0')}\n`;
}

/** The same order for the same seed: a Fisher-Yates shuffle by a small linear congruential generator. */
export function shuffled(chunks: readonly number[], seed: number): number[] {
  const result = [...chunks];
  let state = seed;
  for (let last = result.length - 1; last > 0; last -= 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = state % (last + 1);
    [result[last], result[other]] = [result[other] ?? 0, result[last] ?? 0];
  }
  return result;
}
