import type { ByteSink, ByteSource } from '../bytes/byte-channel.js';

/** How the far side ended. `status` is its exit status, null when it died of a signal or the line broke. */
export interface FarExit {
  readonly status: number | null;
  readonly signal: string | null;
  /** Why the line broke, where it did and the reason is known. */
  readonly problem?: string;
}

/**
 * A line to a running command on the far side. Its stderr is given, line by line, to the listener that the
 * transport was made with.
 */
export interface Transport {
  /** Names the far side in messages. */
  readonly host: string;
  /** How the line is encrypted, where that is known. */
  readonly cipher?: string;
  /** The far side's standard input. A write after the far side closed its end rejects with TransportError. */
  readonly output: ByteSink;
  /** The far side's standard output; ends when the far side closes it, throws TransportError when the line breaks. */
  readonly input: ByteSource;
  /** Resolves when the far side has ended and its stderr has been passed on; never rejects. */
  readonly exit: Promise<FarExit>;
  /**
   * Cuts the line at once: the far side sees a broken stream. Resolves when the program that carried it on this host
   * has ended too, after 3 s at most; never rejects. Safe to call twice.
   */
  destroy(): Promise<void>;
}
