import type { BlockDevice } from '../device/block-device.js';
import type { ReadableVolume } from './base-view.js';
import type { ChangeSet } from './change-set.js';

/** One way of knowing which blocks of a volume changed, and where their new bytes are read. Sizes in bytes. */
export interface ChangeSource {
  /** The source in the user's words, and the volume whose changes it knows. */
  readonly name: string;
  readonly origin: string;
  /** The identity of the state that the changes start from, and of the one that they lead to; null: none. */
  readonly base: string | null;
  readonly result: string | null;
  /**
   * How far the changes lead: `full` to the volume's every byte, whatever the target held; `compared` as well, as what
   * they leave out was found to be equal there. Without it, from a target that held the base.
   */
  readonly scope?: 'full' | 'compared';
  /** The volume's size now. */
  readonly volumeSize: number;
  /** Where the new bytes are read. */
  readonly data: BlockDevice;
  /** Whether `data` was made for this source, of `origin`, and goes with it: so does the state that `result` names. */
  readonly isDataTemporary?: boolean;
  /** The volume as it was at the base, or null where it cannot be read any more: then nothing can be proved. */
  readonly baseVolume: ReadableVolume | null;
  /** Where at least what did not change since the base can be read, if `baseVolume` is null. */
  readonly unchangedVolume: ReadableVolume | null;
  /** Whether nobody can have written to the base since it was frozen. */
  readonly isBaseReadOnly: boolean;
  /**
   * Whether it does not know any more what was new since the base and was discarded again: a target that was brought
   * such bytes, from the same base before, keeps them.
   */
  readonly forgetsDiscarded?: boolean;
  /** What of this host it is read from: none of these may be its own target. */
  readonly paths: readonly string[];
  /**
   * Whether the data can change while it is read: then the changes are read again after the data, as a table
   * read before it misses what was written in between.
   */
  readonly live: boolean;
  /**
   * Reads the changes as they are at this moment, or the `most` chunks that changed first. Throws SnapshotError where
   * the source no longer knows them all.
   */
  readChanges(most?: number): Promise<ChangeSet>;
  /**
   * The table that names these changes, if there is one that only grows: all that one reading names, a later one names
   * too. Null where they have another source beside.
   */
  readonly tableOf?: (changes: ChangeSet) => { readonly id: string; readonly entries: number } | null;
  /**
   * A text that says which bytes `data` holds: whenever and wherever it is the same, they are. Null where nothing
   * proves that nobody writes, or wrote since the source was opened.
   */
  dataProof(): Promise<string | null>;
  /** Throws SnapshotError unless the source still knows every change, as it must after the data was read. */
  checkValid(): Promise<void>;
  /**
   * When the state that the changes lead to came to be, in milliseconds since 1970; null where nobody knows. Without it,
   * that is now.
   */
  readonly madeAt?: () => Promise<number | null>;
  /** After the last read: whether all that was read is the volume's state at one moment. */
  isConsistent(): Promise<boolean>;
  close(): Promise<void>;
}

/** A source whose stores or pool can fill up while it is read. */
export interface FillingSource<Level> extends ChangeSource {
  /** How full they are, now. */
  readLevels(): Promise<readonly Level[]>;
}
