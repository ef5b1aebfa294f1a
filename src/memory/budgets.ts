/** The memory for the blocks in progress on the sending side: new bytes, and old bytes to prove. Bytes. */
export const SEND_MEMORY = 24 * 1024 * 1024;
/** The same on the writing side. Bytes. */
export const RECEIVE_MEMORY = 24 * 1024 * 1024;
/**
 * The same for both sides of a run within one process. It cannot stop with 17 MiB: the writing side may hold 8 MiB until
 * more comes, and the sending side has the new bytes of eight reads, and needs the old bytes of the first to go on. With
 * more, the one writes while the other reads. Bytes.
 */
export const DIRECT_MEMORY = 32 * 1024 * 1024;
/** The memory for the reads of a verify, on each side. Bytes. */
export const VERIFY_MEMORY = 12 * 1024 * 1024;
/** The memory for the blocks read from archives, and for the windows of a store that is written from them. Bytes. */
export const ARCHIVE_MEMORY = 12 * 1024 * 1024;
export const STORE_MEMORY = 8 * 1024 * 1024;
/** What the blocks of archives that become one may take. Bytes. */
export const COMBINE_MEMORY = 16 * 1024 * 1024;
/** What the blocks of a snapback that is made from two states may take. Bytes. */
export const SNAPBACK_MEMORY = 32 * 1024 * 1024;
/** What the old bytes of an apply may take until they are saved. Bytes. */
export const OLD_BYTES_MEMORY = 12 * 1024 * 1024;
/** What the blocks of one archive may take while it is checked. Bytes. */
export const CHECK_MEMORY = 8 * 1024 * 1024;
