import type { Extent } from './extent.js';

/** Chunks in one page of the bitmap: 4 KiB of bits. */
const PAGE_CHUNKS = 32_768;
const WORDS_PER_PAGE = PAGE_CHUNKS / 32;
const FULL_WORD = 0xffff_ffff;

/**
 * A set of chunk numbers, as a bitmap whose pages exist only where a chunk is in the set: 16 TiB of 4 KiB
 * chunks would be 512 MiB as one piece.
 */
export class ChunkSet {
  /** How many chunks are in the set. */
  count = 0;
  private readonly pages = new Map<number, Uint32Array>();
  private lastIndex = -1;
  private lastPage: Uint32Array = new Uint32Array(0);

  /** Adds a chunk; false if it was already in the set. */
  add(chunk: number): boolean {
    const pageIndex = Math.floor(chunk / PAGE_CHUNKS);
    const page = pageIndex === this.lastIndex ? this.lastPage : this.openPage(pageIndex);
    const bit = chunk - pageIndex * PAGE_CHUNKS;
    const word = page[bit >>> 5] ?? 0;
    const mask = 1 << (bit & 31);
    if ((word & mask) !== 0) return false;
    page[bit >>> 5] = word | mask;
    this.count += 1;
    return true;
  }

  /** Adds the chunks from `from` to before `to`; does nothing if `to` is not greater than `from`. */
  addRange(from: number, to: number): void {
    for (let chunk = from; chunk < to;) {
      const pageIndex = Math.floor(chunk / PAGE_CHUNKS);
      const page = pageIndex === this.lastIndex ? this.lastPage : this.openPage(pageIndex);
      const bit = chunk - pageIndex * PAGE_CHUNKS;
      const count = Math.min(32 - (bit & 31), to - chunk);
      const mask = count === 32 ? FULL_WORD : ((1 << count) - 1) << (bit & 31);
      const word = page[bit >>> 5] ?? 0;
      this.count += count - countBits(word & mask);
      page[bit >>> 5] = word | mask;
      chunk += count;
    }
  }

  has(chunk: number): boolean {
    const pageIndex = Math.floor(chunk / PAGE_CHUNKS);
    const bit = chunk - pageIndex * PAGE_CHUNKS;
    const word = this.pages.get(pageIndex)?.[bit >>> 5] ?? 0;
    return (word & (1 << (bit & 31))) !== 0;
  }

  /** How many chunks of the set precede this one in its page, and the page's number; null if it is not in the set. */
  rankInPage(chunk: number): { readonly page: number; readonly rank: number } | null {
    if (!this.has(chunk)) return null;
    const page = Math.floor(chunk / PAGE_CHUNKS);
    const words = this.pages.get(page) ?? new Uint32Array(0);
    const bit = chunk - page * PAGE_CHUNKS;
    let rank = countBits((words[bit >>> 5] ?? 0) & ((1 << (bit & 31)) - 1));
    for (let index = 0; index < bit >>> 5; index++) rank += countBits(words[index] ?? 0);
    return { page, rank };
  }

  /** The chunks of this set that are not in `other`. */
  without(other: ChunkSet): ChunkSet {
    const rest = new ChunkSet();
    for (const run of this.runs()) {
      for (let chunk = run.offset; chunk < run.offset + run.length; chunk++) {
        if (!other.has(chunk)) rest.add(chunk);
      }
    }
    return rest;
  }

  /** The chunks of either set. */
  with(other: ChunkSet): ChunkSet {
    const all = new ChunkSet();
    for (const set of [this, other]) {
      for (const { offset, length } of set.runs()) all.addRange(offset, offset + length);
    }
    return all;
  }

  /** Neighbouring chunks as runs, ascending: offset and length count chunks here. */
  *runs(): Generator<Extent> {
    const run = new OpenRun();
    for (const pageIndex of [...this.pages.keys()].sort((a, b) => a - b)) {
      const page = this.pages.get(pageIndex) ?? new Uint32Array(0);
      const first = pageIndex * PAGE_CHUNKS;
      for (let index = 0; index < WORDS_PER_PAGE; index++) {
        const word = page[index] ?? 0;
        if (word !== 0) yield* run.takeWord(word, first + index * 32);
      }
    }
    if (run.length > 0) yield { offset: run.start, length: run.length };
  }

  private openPage(pageIndex: number): Uint32Array {
    let page = this.pages.get(pageIndex);
    if (page === undefined) {
      page = new Uint32Array(WORDS_PER_PAGE);
      this.pages.set(pageIndex, page);
    }
    this.lastIndex = pageIndex;
    this.lastPage = page;
    return page;
  }
}

function countBits(word: number): number {
  let rest = word - ((word >>> 1) & 0x5555_5555);
  rest = (rest & 0x3333_3333) + ((rest >>> 2) & 0x3333_3333);
  return Math.imul((rest + (rest >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** The run of chunks that is still growing while the bitmap is walked. */
class OpenRun {
  start = 0;
  length = 0;

  *takeWord(word: number, firstChunk: number): Generator<Extent> {
    if (word === FULL_WORD) {
      yield* this.take(firstChunk, 32);
      return;
    }
    for (let bit = 0; bit < 32; bit++) {
      if ((word & (1 << bit)) !== 0) yield* this.take(firstChunk + bit, 1);
    }
  }

  private *take(chunk: number, count: number): Generator<Extent> {
    if (this.length > 0 && this.start + this.length === chunk) {
      this.length += count;
      return;
    }
    if (this.length > 0) yield { offset: this.start, length: this.length };
    this.start = chunk;
    this.length = count;
  }
}
