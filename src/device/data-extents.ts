import type { Extent } from '../extent.js';
import { findData } from '../host/system-calls.js';

/** The ranges of an open file that have bytes of their own: what lies between them are holes, which read as zeroes. */
export async function* dataExtentsOf(fd: number, size: number): AsyncGenerator<Extent> {
  for (let at = 0; at < size;) {
    const found = await findData(fd, at, size);
    if (found === null) return;
    const end = Math.min(found.to, size);
    if (end > found.from) yield { offset: found.from, length: end - found.from };
    at = Math.max(end, at + 1);
  }
}
