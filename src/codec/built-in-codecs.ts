import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { checkLength, type Codec, type CodecName } from './codec.js';

/** The largest window of a stream: RFC 8878 requires every decoder to support it. A frame's own data is smaller. */
const ZSTD_WINDOW_LOG = 23;
/** Room beyond the expected size, so that the end is found without another piece; Node does not accept less. */
const SPARE = 64;

interface ZlibOptions {
  readonly chunkSize: number;
  readonly maxOutputLength: number;
  readonly info?: boolean;
  readonly level?: number;
  readonly params?: Readonly<Record<number, number>>;
  readonly pledgedSrcSize?: number;
}

type ZlibFunction = (
  input: Uint8Array,
  options: ZlibOptions,
  done: (error: Error | null, result: unknown) => void,
) => void;

/** What zlib's functions return with `info`. */
interface InflatedInfo {
  readonly buffer: Buffer;
  /** `bytesWritten` counts the input bytes that were consumed. */
  readonly engine: { readonly bytesWritten: number };
}

/** The parts of a codec from Node's zlib module. */
interface Parts {
  readonly name: CodecName;
  readonly pack: ZlibFunction;
  readonly unpack: ZlibFunction;
  readonly packOptions: (rawLength: number, level: number) => Partial<ZlibOptions>;
  readonly unpackOptions?: Partial<ZlibOptions>;
}

function builtIn({ name, pack, unpack, packOptions, unpackOptions = {} }: Parts): Codec {
  const packing = promisify(pack);
  const unpacking = promisify(unpack);
  return {
    name,
    async compress(raw, room, level) {
      const options = { chunkSize: room.length + SPARE, maxOutputLength: room.length };
      try {
        const packed = await packing(raw, { ...packOptions(raw.length, level), ...options });
        room.set(packed as Buffer);
        return (packed as Buffer).length;
      } catch (error) {
        if (isTooLong(error)) return null;
        throw error;
      }
    },
    async decompress(packed, raw) {
      const options = { chunkSize: raw.length + SPARE, maxOutputLength: raw.length, info: true };
      const { buffer, engine } = (await unpacking(packed, { ...unpackOptions, ...options }).catch(
        (error: unknown) => {
          if (isTooLong(error))
            throw new Error(`it decompresses to more than ${raw.length} bytes`, { cause: error });
          throw error;
        },
      )) as InflatedInfo;
      checkLength(buffer.length, raw.length);
      if (engine.bytesWritten !== packed.length) throw new Error('there is data after its end');
      raw.set(buffer);
    },
  };
}

function isTooLong(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
}

/** RFC 1950. */
export const zlibCodec = builtIn({
  name: 'zlib',
  pack: zlib.deflate,
  unpack: zlib.inflate,
  packOptions: (_rawLength, level) => ({ level }),
});

/** RFC 7932. */
export const brotliCodec = builtIn({
  name: 'brotli',
  pack: zlib.brotliCompress,
  unpack: zlib.brotliDecompress,
  packOptions: (rawLength, level) => ({
    params: {
      [zlib.constants.BROTLI_PARAM_QUALITY]: level,
      [zlib.constants.BROTLI_PARAM_SIZE_HINT]: rawLength,
    },
  }),
});

/** Node's zlib module has these from 22.15 on; its types for Node 20 do not. */
interface ZstdOfNode {
  readonly zstdCompress: ZlibFunction;
  readonly zstdDecompress: ZlibFunction;
  readonly constants: { readonly ZSTD_c_compressionLevel: number; readonly ZSTD_d_windowLogMax: number };
}

/** RFC 8878, if this Node has it. */
export function nodeZstdCodec(): Codec | null {
  if (!('zstdCompress' in zlib)) return null;
  const { zstdCompress, zstdDecompress, constants } = zlib as unknown as ZstdOfNode;
  return builtIn({
    name: 'zstd',
    pack: zstdCompress,
    unpack: zstdDecompress,
    packOptions: (rawLength, level) => ({
      params: { [constants.ZSTD_c_compressionLevel]: level },
      pledgedSrcSize: rawLength,
    }),
    unpackOptions: { params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG } },
  });
}
