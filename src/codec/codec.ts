/** The ways to compress a block, with the permanent numbers of docs/stream-format.md. */
export const CODEC_IDS = { zlib: 1, zstd: 2, brotli: 3 } as const;

export type CodecName = keyof typeof CODEC_IDS;

/** Fastest first, as measured on blocks of 1 MiB: the first one that both sides have is used. */
export const CODECS_BY_SPEED: readonly CodecName[] = ['zstd', 'brotli', 'zlib'];

/** The levels of each codec, and the one that keeps up with a fast connection. */
export const CODEC_LEVELS: Readonly<Record<CodecName, CodecLevels>> = {
  zlib: { least: 1, most: 9, usual: 1 },
  zstd: { least: 1, most: 19, usual: 1 },
  brotli: { least: 0, most: 11, usual: 0 },
};

export interface CodecLevels {
  readonly least: number;
  readonly most: number;
  readonly usual: number;
}

/** Compresses and decompresses whole blocks, on other threads. It owns the memory that it is given until it is done. */
export interface Codec {
  readonly name: CodecName;
  /** Compresses `raw` into `room`; returns the number of bytes, or null if they do not fit. */
  compress(raw: Uint8Array, room: Buffer, level: number): Promise<number | null>;
  /**
   * Fills `raw` completely, and never writes or allocates more than that. Throws a plain Error with the reason if
   * `packed` is not one whole compressed block of exactly that length.
   */
  decompress(packed: Uint8Array, raw: Buffer): Promise<void>;
}

/** The codec with this number in a frame, or null if the number is not assigned. */
export function codecNumbered(id: number): CodecName | null {
  return CODECS_BY_SPEED.find((name) => CODEC_IDS[name] === id) ?? null;
}

/** Checks the length of a decompressor's output. Throws if it is not the expected one. */
export function checkLength(made: number, promised: number): void {
  if (made !== promised) throw new Error(`it decompresses to ${made} bytes instead of ${promised}`);
}
