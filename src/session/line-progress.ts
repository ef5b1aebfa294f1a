/** What the lines of one run have come to: whether to replace one that breaks is decided by it. */
export class LineProgress {
  /** Whether a receiver was ever ready. */
  hasBegun = false;
  /** How many checkpoints receivers answered. */
  checkpoints = 0;
}
