import { openArchive } from '../archive/archive.js';
import type { LendBuffer } from '../bytes/byte-channel.js';
import type { Combination } from '../chain/combination.js';
import { openEach, proveBase } from '../chain/prove-base.js';
import { readCombination } from '../chain/read-combination.js';
import type { Surroundings } from '../host/surroundings.js';
import { BufferPool } from '../memory/aligned-memory.js';
import { ARCHIVE_MEMORY, STORE_MEMORY } from '../memory/budgets.js';
import type { OldState } from './view-making.js';

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
