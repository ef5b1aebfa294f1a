import type { Stage } from './stage.js';

/** One way of making a store, and what a reader of its files must find. */
export interface Case {
  readonly name: string;
  /** What was done, in words. */
  readonly what: string;
  /** Makes and changes the volume; what stands at the end is captured. */
  readonly perform: () => Promise<Ending>;
}

/** What stands at the end of a case. */
export interface Ending {
  readonly stage: Stage;
  /** `valid` unless said otherwise, by what the store's own bytes tell. */
  readonly verdict?: 'valid' | 'invalid' | 'not a store';
  /** Given where the snapshot's device is gone and cannot be asked any more. */
  readonly status?: string;
  /** Given where the status holds no figures. */
  readonly exceptions?: number;
  /** The chunks that the table names, where that is not what the stage wrote; null where nobody knows. */
  readonly tableChunks?: readonly number[] | 'as changed' | null;
  /** Where to read the volume and the store; the stage's nodes by default. */
  readonly volume?: string;
}
