import { isByteLocked, tryToShareByte } from './system-calls.js';

/*
 * QEMU's image locking: who has an image or device open shares the locks of bytes that say what he does with it, and
 * of others that say what he cannot bear beside him. They are advice, and hold between those who open the same node.
 */

/** "I write": who cannot bear a writer does not open it. */
const WRITES = 101;
/** "Nobody else may write": QEMU then refuses with `Failed to get "write" lock`. */
const BEARS_NO_WRITER = 201;

/**
 * Says to every QEMU that an open file is being written, by us alone, until its last descriptor is closed. False where
 * a QEMU has it open to write, or so that nobody may. Throws Error where it cannot be locked at all.
 */
export async function tryToKeepQemuOut(fd: number): Promise<boolean> {
  // Taken first and looked at then: of two who come at once, one at least sees the other.
  const isHeld = (await tryToShareByte(fd, WRITES)) && (await tryToShareByte(fd, BEARS_NO_WRITER));
  return isHeld && !(await isByteLocked(fd, WRITES)) && !(await isByteLocked(fd, BEARS_NO_WRITER));
}
