import { read, readSync, write, writeSync, writev, writevSync } from 'node:fs';

/** A range of an open file, and where its bytes are in memory: several pieces only to be written. */
export interface Transfer {
  readonly kind: 'read' | 'write';
  readonly fd: number;
  readonly pieces: readonly Uint8Array[];
  /** Bytes. */
  readonly length: number;
  readonly position: number;
}

/**
 * A call is quick if it takes at most this long, and as long again as a slow memory needs for its bytes. The fastest
 * disks take longer.
 */
const QUICK_MS = 0.04;
const QUICK_BYTES_PER_MS = 2 * 1024 * 1024;
/** After a call that was not quick, so many go to the pool before the next is tried here; each time twice as many. */
const FIRST_PATIENCE = 32;
const MOST_PATIENCE = 2048;
/** How long calls may keep the event loop from its other work. Milliseconds. */
const LONGEST_TURN_MS = 20;

/** When a call last came back through the event loop: until then, signals and timers had their turn. */
let turnedAt = performance.now();

/**
 * Reads and writes an open file, the quicker way. What is in the page cache takes a few microseconds, and handing the
 * call to a thread and back takes some fifty, so it is made here. A disk takes longer, and wants several calls at once:
 * those go to libuv's threads. Which it is shows the time that a call takes.
 *
 * Calls to a block device always go to threads: while it is suspended they do not return, and signals, signs of life
 * and messages must not wait for them.
 */
export class Transfers {
  private patience = FIRST_PATIENCE;
  /** How many calls go to the pool before the next is tried here. */
  private left: number;

  constructor(isBlockDevice: boolean) {
    this.left = isBlockDevice ? Infinity : 0;
  }

  /**
   * Reads or writes. The result is how many bytes were moved: at least one, unless a file that is read ends. Throws or
   * rejects with the system's error.
   */
  run(transfer: Transfer): number | Promise<number> {
    if (this.left > 0) {
      this.left -= 1;
      return runInPool(transfer);
    }
    const began = performance.now();
    if (began - turnedAt > LONGEST_TURN_MS) return runInPool(transfer);
    const count = runHere(transfer);
    if (performance.now() - began > QUICK_MS + transfer.length / QUICK_BYTES_PER_MS) this.wait();
    else if (this.patience > FIRST_PATIENCE) this.patience -= 1;
    return count;
  }

  private wait(): void {
    this.left = this.patience;
    this.patience = Math.min(this.patience * 2, MOST_PATIENCE);
  }
}

function runHere({ kind, fd, pieces, length, position }: Transfer): number {
  const [first] = pieces;
  if (first === undefined || pieces.length > 1) return writevSync(fd, pieces, position);
  if (kind === 'read') return readSync(fd, first, 0, length, position);
  return writeSync(fd, first, 0, length, position);
}

/** Uses the callback form, because FileHandle's own read costs up to 15 % more. */
function runInPool({ kind, fd, pieces, length, position }: Transfer): Promise<number> {
  return new Promise((resolve, reject) => {
    const settle = (error: Error | null, count: number) => {
      turnedAt = performance.now();
      if (error) reject(error);
      else resolve(count);
    };
    const [first] = pieces;
    if (first === undefined || pieces.length > 1) writev(fd, pieces, position, settle);
    else if (kind === 'read') read(fd, first, 0, length, position, settle);
    else write(fd, first, 0, length, position, settle);
  });
}
