import { openArchive } from '../archive/archive.js';
import type { LendBuffer } from '../bytes/byte-channel.js';
import type { Combination } from '../chain/combination.js';
import { openEach, proveBase } from '../chain/prove-base.js';
import { readCombination } from '../chain/read-combination.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { ARCHIVE_MEMORY, STORE_MEMORY } from '../memory/budgets.js';
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

/** A target, and the earlier state of it that is to be seen. */
export interface Retrospect {
  readonly target: OpenTarget;
  readonly old: OldState;
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
  readonly env: Surroundings;
}

/** The state that a combination of archives leads to, in the form that a store is written from. */
export function oldStateOf(combination: Combination, { signal }: Pick<Surroundings, 'signal'>): OldState {
  const { archives, volumeSize, base, result, mark, extents } = combination;
  return {
    ...{ volumeSize, base, result, ...(mark === undefined ? {} : { mark }) },
    proveBase: async (target) => {
      // Opened anew: a plan keeps no archive's index.
      const opened = openEach(archives, ({ path }) => openArchive(path));
      return await proveBase(target, opened, signal);
    },
    extents: () => extents,
    blocks: () => readCombination(combination, { lend: new BufferPool(ARCHIVE_MEMORY).lend, signal }),
  };
}

/** Lends the memory for the windows of a store. */
export function lendForStore(): LendBuffer {
  return new BufferPool(STORE_MEMORY).lend;
}
