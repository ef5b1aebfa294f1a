/** The ways to make a block's bytes fewer, by the numbers that docs/stream-format.md gives them for good. */
export const CODEC_IDS = { zlib: 1, zstd: 2, brotli: 3 } as const;

export type CodecName = keyof typeof CODEC_IDS;

/** Fastest first, as measured on blocks of 1 MiB: the one that both sides have is taken. */
export const CODECS_BY_SPEED: readonly CodecName[] = ['zstd', 'brotli', 'zlib'];

/** The levels that a codec knows, and the one that keeps up with a fast line. */
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

/** Compresses and decompresses whole blocks, on other threads. The memory it is given is its own until it is done. */
export interface Codec {
  readonly name: CodecName;
  /** Compresses `raw` into `room`; how many bytes that took, or null where they do not fit. */
  compress(raw: Uint8Array, room: Buffer, level: number): Promise<number | null>;
  /**
   * Fills `raw` to its last byte, and writes no byte and takes no memory beyond it. Throws a plain Error, with the
   * reason, where `packed` is not one whole compressed block of just that length.
   */
  decompress(packed: Uint8Array, raw: Buffer): Promise<void>;
}

/** The codec of this number in a frame, or null where there is none yet. */
export function codecNumbered(id: number): CodecName | null {
  return CODECS_BY_SPEED.find((name) => CODEC_IDS[name] === id) ?? null;
}

/** What a decompressor that ended says of its output. Throws where that is not what was promised. */
export function checkLength(made: number, promised: number): void {
  if (made !== promised) throw new Error(`it gives ${made} bytes instead of ${promised}`);
}
