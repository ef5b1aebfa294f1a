import { SECTOR } from '../bytes/extent.js';
/** Where extents may lie in a stream: within the volume, in whole sectors, ascending within a pass. In bytes. */
export class ExtentOrder {
  /** Where the section ends that is open, 0 without one. */
  private sectionEnd = 0;

  /** @param pass the pass that is under way, from 1, and `cursor` where its last extent ends */
  constructor(
    private readonly volumeSize: number,
    public pass = 1,
    private cursor = 0,
  ) {}

  /** Takes the extent that comes next, or says what is wrong with it. */
  take(offset: number, length: number): string | null {
    if (offset >= this.sectionEnd) this.closeSection();
    const problem = this.findProblem(offset, length);
    if (problem === null) this.cursor = offset + length;
    return problem;
  }

  /** Takes a section, into which the blocks that follow go until it is closed, or says what is wrong with it. */
  openSection(offset: number, length: number): string | null {
    this.closeSection();
    const problem = this.findProblem(offset, length);
    if (problem === null) {
      this.cursor = offset;
      this.sectionEnd = offset + length;
    }
    return problem;
  }

  /** What follows lies behind the section, if one is open. */
  closeSection(): void {
    this.cursor = Math.max(this.cursor, this.sectionEnd);
    this.sectionEnd = 0;
  }

  /** Begins another pass, in which offsets may start again from 0. */
  startPass(): void {
    this.pass += 1;
    this.sectionEnd = 0;
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
    if (this.sectionEnd > 0 && offset + length > this.sectionEnd) {
      return `a block of ${length} bytes at ${offset} reaches out of its section, which ends at ${this.sectionEnd}`;
    }
    return null;
  }
}
