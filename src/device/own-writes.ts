/**
 * What we asked the kernel to write to a device, so that what it counts beyond that is somebody else's. Bytes; of what
 * failed all that was asked for, as nobody knows how much of it was counted.
 */
export class OwnWrites {
  written = 0;
  discarded = 0;
  private hasFailedToPunch = false;

  /** A hole is written, as the kernel counts it. */
  addHole(length: number, isMade: boolean): void {
    // A device that took no hole once is asked for none any more: what fails from then on was not counted.
    if (isMade || !this.hasFailedToPunch) this.written += length;
    if (!isMade) this.hasFailedToPunch = true;
  }
}
