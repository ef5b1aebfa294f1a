import type { LendBuffer } from '../bytes/byte-channel.js';
import type { Surroundings } from '../host/surroundings.js';
import type { ProveBase } from '../targets/base-check.js';
import type { OpenTarget } from '../targets/open-target.js';
import type { OldContents, StoreMaterial } from './store-writer.js';
import type { ViewEntry, ViewRecord } from './view-record.js';

/** What a volume was, by its archives. */
export interface OldState extends OldContents {
  /** Bytes. */
  readonly volumeSize: number;
  /** The identities of the state that the archives start from, and of that which they lead to; null: unknown. */
  readonly base: string | null;
  readonly result: string | null;
  /** Of a state without a name that they start from, where they tell. */
  readonly mark?: string;
  /** Holds a target against what the archives say of the state that they start from. */
  readonly proveBase: ProveBase;
}

/** What shall be opened, and how. */
export interface ViewWish {
  /** The target, as its user named it. */
  readonly targetName: string;
  readonly purpose: ViewRecord['purpose'];
  /** How much the store has left for what is written later, in bytes; null for the usual. */
  readonly spareBytes: number | null;
  /** Where a store in a file lies; null: in the state directory. */
  readonly storeFolder: string | null;
  /** Whether the user vouches for the target's state. */
  readonly forceBase: boolean;
}

/** What is being made, of what. */
export interface ViewMaking {
  readonly target: OpenTarget;
  readonly material: StoreMaterial;
  readonly wish: ViewWish;
  readonly entry: ViewEntry;
  readonly lend: LendBuffer;
  readonly about: Surroundings;
}
