import { ChunkSet } from '../bytes/chunk-set.js';
import { endOf, type Extent } from '../bytes/extent.js';
import { FormatError } from '../errors.js';

const FIRST_ROOM = 64;

/**
 * The pieces that a receiver asks for in full, because only parts of them were sent and their proof failed there. The
 * receiver is not trusted: it can ask only for pieces that were sent as sections, each once and in that order.
 */
export class WantedPieces {
  /** Which of the pieces were sent as sections, by their index in the pass. */
  private readonly offered = new ChunkSet();
  private isOver = false;
  private count = 0;
  private offsets = new Float64Array(FIRST_ROOM);
  private lengths = new Float64Array(FIRST_ROOM);

  /** Whether anything was sent that the receiver can ask for. */
  get hasOffered(): boolean {
    return this.offered.count > 0;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** Notes that a piece is sent as a section. */
  offer(index: number): void {
    this.offered.add(index);
  }

  /** Accepts a request of a receiver. Throws FormatError if it cannot ask for that. */
  take(extent: Extent, host: string, position: number): void {
    const fail = (problem: string): never => {
      throw new FormatError(
        host,
        position,
        'want',
        `it asks for ${extent.length} bytes at ${extent.offset}, ${problem}`,
      );
    };
    if (this.isOver) fail('but said before that this was all');
    if (this.count >= this.offered.count) fail('but no more sections were sent');
    if (extent.offset < this.end) fail('which are not after those that it asked for before');
    if (this.count === this.offsets.length) {
      this.offsets = grown(this.offsets);
      this.lengths = grown(this.lengths);
    }
    this.offsets[this.count] = extent.offset;
    this.lengths[this.count] = extent.length;
    this.count += 1;
  }

  /**
   * Once there can be no more requests, compares them with the pieces that were sent, in their order. Throws
   * FormatError if a request is for something that was not sent as a section.
   */
  settle(pieces: Iterable<Extent>, host: string): void {
    this.isOver = true;
    let next = 0;
    let index = 0;
    for (const { offset, length } of pieces) {
      if (next === this.count) break;
      if (this.offsets[next] === offset && this.lengths[next] === length && this.offered.has(index))
        next += 1;
      index += 1;
    }
    if (next === this.count) return;
    const what = `${this.lengths[next] ?? 0} bytes at ${this.offsets[next] ?? 0}`;
    throw new FormatError(host, 0, 'want', `it asks for ${what}, which were not sent as a section`);
  }

  /** The requested extents, ascending. */
  *extents(): Generator<Extent> {
    for (let index = 0; index < this.count; index++) {
      yield { offset: this.offsets[index] ?? 0, length: this.lengths[index] ?? 0 };
    }
  }

  private get end(): number {
    const last = this.count - 1;
    return last < 0 ? 0 : endOf({ offset: this.offsets[last] ?? 0, length: this.lengths[last] ?? 0 });
  }
}

function grown(values: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(values.length * 2);
  larger.set(values);
  return larger;
}
