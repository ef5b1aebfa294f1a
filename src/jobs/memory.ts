/** What the blocks under way may take on the sending side: new bytes, and old ones to prove. Bytes. */
export const SEND_MEMORY = 24 * 1024 * 1024;
/** What they may take on the writing side. Bytes. */
export const RECEIVE_MEMORY = 24 * 1024 * 1024;
/** What the reads of a verify may take on each side. Bytes. */
export const VERIFY_MEMORY = 12 * 1024 * 1024;
