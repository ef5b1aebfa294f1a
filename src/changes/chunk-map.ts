import type { ChunkSet } from './chunk-set.js';

/** A number for each chunk of a set: eight bytes a chunk, where a Map would take forty and end at 16 million. */
export class ChunkMap {
  private readonly pages = new Map<number, Float64Array>();

  /** @param chunks all that will ever be set; it must not grow any more */
  constructor(private readonly chunks: ChunkSet) {}

  /** Chunks that are not in the set are passed over. */
  set(chunk: number, value: number): void {
    const place = this.chunks.rankInPage(chunk);
    if (place === null) return;
    const page = this.roomFor(place.page, place.rank);
    page[place.rank] = value;
  }

  get(chunk: number): number | undefined {
    const place = this.chunks.rankInPage(chunk);
    return place === null ? undefined : this.pages.get(place.page)?.[place.rank];
  }

  private roomFor(number: number, rank: number): Float64Array {
    const page = this.pages.get(number) ?? new Float64Array(16);
    if (rank < page.length) {
      this.pages.set(number, page);
      return page;
    }
    const grown = new Float64Array(2 ** Math.ceil(Math.log2(rank + 1)));
    grown.set(page);
    this.pages.set(number, grown);
    return grown;
  }
}
