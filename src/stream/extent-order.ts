/** Extents are whole sectors of this many bytes, but for the volume's last one. */
const SECTOR = 512;

/** Where extents may lie in a stream: within the volume, in whole sectors, ascending within a pass. In bytes. */
export class ExtentOrder {
  /** @param pass the pass that is under way, from 1, and `cursor` where its last extent ends */
  constructor(
    private readonly volumeSize: number,
    public pass = 1,
    private cursor = 0,
  ) {}

  /** Takes the extent that comes next, or says what is wrong with it. */
  take(offset: number, length: number): string | null {
    const problem = this.findProblem(offset, length);
    if (problem === null) this.cursor = offset + length;
    return problem;
  }

  /** Begins another pass, in which offsets may start again from 0. */
  startPass(): void {
    this.pass += 1;
    this.cursor = 0;
  }

  /** Says what is wrong with an extent of this volume, wherever in the stream it stands. */
  findMisfit(offset: number, length: number): string | null {
    const end = offset + length;
    if (length <= 0) return `a block of ${length} bytes at ${offset}`;
    if (end > this.volumeSize) {
      return `a block of ${length} bytes at ${offset} lies past the volume's end (${this.volumeSize} bytes)`;
    }
    if (offset % SECTOR !== 0 || (end % SECTOR !== 0 && end !== this.volumeSize)) {
      return `a block of ${length} bytes at ${offset} is not in whole sectors`;
    }
    return null;
  }

  private findProblem(offset: number, length: number): string | null {
    const misfit = this.findMisfit(offset, length);
    if (misfit !== null) return misfit;
    if (offset < this.cursor) {
      return `a block of ${length} bytes at ${offset} is not behind the one before, which ended at ${this.cursor}`;
    }
    return null;
  }
}
