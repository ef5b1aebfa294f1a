/** `index.json`: what each store was made from and what a reader of it must find. */
export interface ImageIndex {
  /** The release of the kernel that wrote the stores. */
  readonly kernel: string;
  readonly images: readonly NativeImage[];
}

export interface NativeImage {
  readonly name: string;
  /** What was done, in words. */
  readonly what: string;
  /** Bytes. */
  readonly chunkSize: number;
  /** The size of the volume when the snapshot was made, in bytes; the origin may have grown since. */
  readonly volumeSize: number;
  /** By the store's own bytes: marked invalid, or without the header of a persistent store. */
  readonly verdict: 'valid' | 'invalid' | 'not a store';
  /** What `dmsetup status` said after the target's name, at the end. */
  readonly status: string;
  /** As the kernel counted them; null for a store that is not valid. */
  readonly exceptions: number | null;
  /**
   * Runs [first chunk, count], ascending, of the chunks that the table must name, known from what was written
   * and not from the table; null where nobody knows (a file system wrote, or the table is incomplete).
   */
  readonly tableChunks: readonly ChunkRun[] | null;
  /** Runs of the chunks whose bytes differ between base and origin, by comparing the two. */
  readonly changedChunks: readonly ChunkRun[];
  /** The sha256 of the snapshot as the kernel showed it; null where it could not be read. */
  readonly snapshotSha256: string | null;
  /** The volume's bytes when the snapshot was made, its bytes at the end, and the whole store. */
  readonly base: ImageFile;
  readonly origin: ImageFile;
  readonly cow: ImageFile;
}

export type ChunkRun = readonly [first: number, count: number];

/** A compressed image: `file` lies beside the index. Size (bytes) and digest are of the unpacked bytes. */
export interface ImageFile {
  readonly file: string;
  readonly size: number;
  readonly sha256: string;
}
