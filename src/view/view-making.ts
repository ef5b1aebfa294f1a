import type { LendBuffer } from '../bytes/byte-channel.js';
import type { Surroundings } from '../host/surroundings.js';
import type { ProveBase } from '../targets/base-check.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { OldContents, StoreMaterial } from './store-writer.js';
import type { ViewEntry, ViewRecord } from './view-record.js';

/** An earlier state of a volume, from its archives. */
export interface OldState extends OldContents {
  /** Bytes. */
  readonly volumeSize: number;
  /** The identities of the states that the archives start from and lead to; null: unknown. */
  readonly base: string | null;
  readonly result: string | null;
  /** The mark of a start state without a name, if the archives have one. */
  readonly mark?: string;
  /** Compares a target with what the archives say about their start state. */
  readonly proveBase: ProveBase;
}

/** What to open, and how. */
export interface ViewWish {
  /** The target, as its user named it. */
  readonly targetName: string;
  readonly purpose: ViewRecord['purpose'];
  /** How much room the store has for later writes, in bytes; null for the default. */
  readonly spareBytes: number | null;
  /** The folder for a store in a file; null: the state directory. */
  readonly storeFolder: string | null;
  /** Whether the user asserts that the target is in the right state. */
  readonly forceBase: boolean;
}

/** What the making of a view works with. */
export interface ViewMaking {
  readonly target: OpenTarget;
  readonly material: StoreMaterial;
  readonly wish: ViewWish;
  readonly entry: ViewEntry;
  readonly lend: LendBuffer;
  readonly about: Surroundings;
}
