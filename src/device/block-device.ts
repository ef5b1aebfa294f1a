/** A range of bytes that can be read and written at random: a block device or an image file. */
export interface BlockDevice {
  /** The name to use in messages. */
  readonly path: string;
  /** Bytes; fixed while open. */
  readonly size: number;
  /** Fills `bytes` from `offset`. Throws DeviceError, also if the device ends before `bytes` is full. */
  readAt(bytes: Uint8Array, offset: number): Promise<void>;
  /** Writes all of `bytes` at `offset`; on stable storage only after `flush`. Throws DeviceError. */
  writeAt(bytes: Uint8Array, offset: number): Promise<void>;
  /** Writes pieces one after another, from `offset`, in one call if possible. As `writeAt`. */
  writePiecesAt(pieces: readonly Uint8Array[], offset: number): Promise<void>;
  /** Makes the range read as zeroes. Throws DeviceError. */
  zero(offset: number, length: number): Promise<void>;
  /** The same, and frees the space if the device supports that. Throws DeviceError. */
  discard(offset: number, length: number): Promise<void>;
  /** Resolves when all writes are on stable storage. A failed flush is final: what was lost is unknown. */
  flush(): Promise<void>;
  /** Drops cached data, so that the next read sees what the kernel wrote past the cache. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}
