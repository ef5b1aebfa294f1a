import type { LendBuffer } from '../byte-channel.js';
import { BufferPool } from '../device/aligned-memory.js';
import type { Surroundings } from '../host/surroundings.js';
import { openArchive } from '../snapback/archive.js';
import type { Combination } from '../snapback/combination.js';
import { proveBase } from '../snapback/prove-base.js';
import { readCombination } from '../snapback/read-combination.js';
import type { OldState } from '../view/view-making.js';
import { ARCHIVE_MEMORY, STORE_MEMORY } from './memory.js';

/** What a combination of archives leads to, as a store of it is written. */
export function oldStateOf(combination: Combination, { signal }: Pick<Surroundings, 'signal'>): OldState {
  const { archives, volumeSize, base, result, mark, extents } = combination;
  return {
    ...{ volumeSize, base, result, ...(mark === undefined ? {} : { mark }) },
    proveBase: async (target) => {
      // Opened anew: a plan keeps no archive's index.
      const opened = await Promise.all(archives.map(({ path }) => openArchive(path)));
      return await proveBase(target, opened, signal);
    },
    extents: () => extents,
    blocks: () => readCombination(combination, { lend: new BufferPool(ARCHIVE_MEMORY).lend, signal }),
  };
}

/** Lends what a store's windows take. */
export function lendForStore(): LendBuffer {
  return new BufferPool(STORE_MEMORY).lend;
}
