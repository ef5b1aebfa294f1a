import type { BlockDevice } from '../device/block-device.js';
import type { ReadableVolume } from './base-view.js';
import type { ChangeSet } from './change-set.js';

/** A way to find which blocks of a volume changed, and where to read their new bytes. */
export interface ChangeSource {
  readonly facts: SourceFacts;
  readonly volumes: SourceVolumes;
  readonly watch: SourceWatch;
}

/** What is known of a source from its opening on: plain data, which can go to another thread. Sizes in bytes. */
export interface SourceFacts {
  /** The source in the user's words, and the volume that it tracks. */
  readonly name: string;
  readonly origin: string;
  /** The identities of the states that the changes start from and lead to; null: no identity. */
  readonly base: string | null;
  readonly result: string | null;
  /**
   * Which targets the changes can be applied to: `full` changes give every byte of the volume, to any target; so do
   * `compared` ones, because what they leave out was found to be equal there. Without it, the target must hold the
   * base.
   */
  readonly scope?: 'full' | 'compared';
  /** The volume's size now. */
  readonly volumeSize: number;
  /**
   * Whether the volume with the new bytes was made for this source, from `origin`, and is removed with it, and the
   * state that `result` names too.
   */
  readonly isDataTemporary?: boolean;
  /** Whether nothing can have written to the base since it was frozen. */
  readonly isBaseReadOnly: boolean;
  /**
   * Whether the source no longer knows which new bytes since the base were discarded again: a target that received
   * such bytes earlier, from the same base, keeps them.
   */
  readonly forgetsDiscarded?: boolean;
  /** The paths on this host that it is read from: none of these may be its own target. */
  readonly paths: readonly string[];
  /**
   * Whether the data can change while it is read: then the changes are read again after the data, because a table that
   * was read first misses what was written in between.
   */
  readonly live: boolean;
}

/** What a source is read from. */
export interface SourceVolumes {
  /** Where to read the new bytes. */
  readonly data: BlockDevice;
  /** The volume as it was at the base, or null if that can no longer be read: then nothing can be proved. */
  readonly base: ReadableVolume | null;
  /** A volume that has at least the bytes that did not change since the base, if `base` is null. */
  readonly unchanged: ReadableVolume | null;
}

/** Watches what is read, while it is read. It asks the kernel, LVM and other programs, so it stays on the main thread. */
export interface ReadWatch {
  /**
   * A text that identifies the bytes that are read: equal texts mean equal bytes, at any time and place. Null if
   * nothing proves that no process writes, or wrote since the volume was opened.
   */
  dataProof(): Promise<string | null>;
  /** Throws SnapshotError if what was read may not be what the volume held; called after the data was read. */
  checkValid(): Promise<void>;
  /** After the last read: whether everything that was read is the volume's state at one moment. */
  isConsistent(): Promise<boolean>;
  close(): Promise<void>;
}

/** Watches a source. Its `checkValid` throws SnapshotError unless the source still knows every change. */
export interface SourceWatch extends ReadWatch {
  /**
   * Reads the changes as they are now, or the `most` chunks that changed first. Throws SnapshotError if the source no
   * longer knows all changes.
   */
  readChanges(most?: number): Promise<ChangeSet>;
  /**
   * The table that lists these changes, if it only grows: a later reading contains all entries of an earlier one. Null
   * if the changes have a second source.
   */
  readonly tableOf?: (changes: ChangeSet) => { readonly id: string; readonly entries: number } | null;
  /**
   * When the volume came into the state that the changes lead to, in milliseconds since 1970; null if unknown. Without
   * it, that is now.
   */
  readonly madeAt?: () => Promise<number | null>;
}
