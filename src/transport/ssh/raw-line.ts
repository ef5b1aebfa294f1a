import type { Duplex } from 'node:stream';

/** The bytes' way to a host's ssh server, before anything of ssh is spoken. */
export interface RawLine {
  readonly stream: Duplex;
  /** How many bytes came from there so far. */
  readonly bytesRead: () => number;
  /** What is known of why it broke; null where nothing is. */
  readonly problem: () => string | null;
  /** Resolves once `problem` knows all that it ever will. */
  readonly ended: Promise<unknown>;
}
