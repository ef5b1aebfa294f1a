import { SECTOR } from '../bytes/extent.js';
/** Checks where extents may be in a stream: within the volume, in whole sectors, ascending within a pass. In bytes. */
export class ExtentOrder {
  /** Where the open section ends; 0 if no section is open. */
  private sectionEnd = 0;

  /** @param pass the current pass, from 1, and `cursor` where its last extent ends */
  constructor(
    private readonly volumeSize: number,
    public pass = 1,
    private cursor = 0,
  ) {}

  /** Accepts the next extent, or returns what is wrong with it. */
  take(offset: number, length: number): string | null {
    if (offset >= this.sectionEnd) this.closeSection();
    const problem = this.findProblem(offset, length);
    if (problem === null) this.cursor = offset + length;
    return problem;
  }

  /** Opens a section that contains the blocks that follow until it is closed, or returns what is wrong with it. */
  openSection(offset: number, length: number): string | null {
    this.closeSection();
    const problem = this.findProblem(offset, length);
    if (problem === null) {
      this.cursor = offset;
      this.sectionEnd = offset + length;
    }
    return problem;
  }

  /** What follows comes after the open section, if there is one. */
  closeSection(): void {
    this.cursor = Math.max(this.cursor, this.sectionEnd);
    this.sectionEnd = 0;
  }

  /** Begins another pass, in which offsets may start again at 0. */
  startPass(): void {
    this.pass += 1;
    this.sectionEnd = 0;
    this.cursor = 0;
  }

  /** Returns what is wrong with an extent of this volume, wherever it is in the stream. */
  findMisfit(offset: number, length: number): string | null {
    const end = offset + length;
    if (length <= 0) return `a block of ${length} bytes at ${offset}`;
    if (end > this.volumeSize) {
      return `a block of ${length} bytes at ${offset} is past the volume's end (${this.volumeSize} bytes)`;
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
      return `a block of ${length} bytes at ${offset} is not after the one before it, which ended at ${this.cursor}`;
    }
    if (this.sectionEnd > 0 && offset + length > this.sectionEnd) {
      return `a block of ${length} bytes at ${offset} reaches past its section, which ends at ${this.sectionEnd}`;
    }
    return null;
  }
}
