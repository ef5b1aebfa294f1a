import type { ByteSink, ByteSource } from '../bytes/byte-channel.js';
import type { LineListener } from './stderr-lines.js';
import type { RemoteHost } from './target-spec.js';

/** A command to start on another host. Its words are quoted for the shell there. */
export interface FarStart {
  readonly destination: RemoteHost;
  readonly command: readonly string[];
  /** Called for each line of its stderr. */
  readonly onStderrLine: LineListener;
}

/** How the far side ended. `status` is its exit status, null if a signal ended it or the connection broke. */
export interface FarExit {
  readonly status: number | null;
  readonly signal: string | null;
  /** Why the connection broke, if it did and the reason is known. */
  readonly problem?: string;
}

/**
 * A connection to a running command on the far side. Its stderr goes line by line to the listener that the transport
 * was made with.
 */
export interface Transport {
  /** The name of the far side in messages. */
  readonly host: string;
  /** How the connection is encrypted, if that is known. */
  readonly cipher?: string;
  /** The far side's standard input. Once the far side has closed it, a write rejects with TransportError. */
  readonly output: ByteSink;
  /**
   * The far side's standard output; ends when the far side closes it, throws TransportError when the connection
   * breaks.
   */
  readonly input: ByteSource;
  /** Resolves when the far side has ended and its stderr has been passed on; never rejects. */
  readonly exit: Promise<FarExit>;
  /**
   * Cuts the connection at once: the far side sees a broken stream. Resolves when the program that carried the
   * connection on this host has ended too, after 3 s at most; never rejects. Safe to call twice.
   */
  destroy(): Promise<void>;
}
