import type { LibraryHandle } from 'koffi';
import { brotliCodec, nodeZstdCodec, zlibCodec } from './built-in-codecs.js';
import { checkLength, type Codec, CODECS_BY_SPEED, type CodecName } from './codec.js';

type ForeignFunction = ReturnType<LibraryHandle['func']>;

const LIBRARY = 'libzstd.so.1';
/** -ZSTD_error_dstSize_tooSmall, unchanged since libzstd 1.3.1. */
const NO_ROOM = -70;

/** The system's libzstd as a codec, or null if it is not installed. */
export async function zstdLibraryCodec(): Promise<Codec | null> {
  // Loaded only when needed: koffi is native code.
  const koffi = await import('koffi');
  try {
    const library = koffi.load(LIBRARY);
    // Sizes as signed numbers: an error is a small negative number.
    const functions = {
      createContext: library.func('void *ZSTD_createCCtx()'),
      compress: library.func(
        'int64_t ZSTD_compressCCtx(void *context, void *to, size_t room, const void *from, size_t length, int level)',
      ),
      decompress: library.func(
        'int64_t ZSTD_decompress(void *to, size_t room, const void *from, size_t length)',
      ),
      findFrameLength: library.func('int64_t ZSTD_findFrameCompressedSize(const void *from, size_t length)'),
      nameError: library.func('const char *ZSTD_getErrorName(int64_t code)'),
    };
    return new ZstdLibrary(functions);
  } catch {
    return null;
  }
}

type Functions = Readonly<
  Record<'createContext' | 'compress' | 'decompress' | 'findFrameLength' | 'nameError', ForeignFunction>
>;

class ZstdLibrary implements Codec {
  readonly name = 'zstd';
  /** Making a context takes longer than compressing a small block. There are as many as were ever in use at once. */
  private readonly idleContexts: unknown[] = [];

  constructor(private readonly functions: Functions) {}

  async compress(raw: Uint8Array, room: Buffer, level: number): Promise<number | null> {
    const context: unknown = this.idleContexts.pop() ?? this.functions.createContext();
    const { compress } = this.functions;
    const length = await call(compress, context, room, room.length, raw, raw.length, level);
    this.idleContexts.push(context);
    if (length === NO_ROOM) return null;
    return this.check(length);
  }

  async decompress(packed: Uint8Array, raw: Buffer): Promise<void> {
    const { decompress, findFrameLength } = this.functions;
    const first = this.check(Number(findFrameLength(packed, packed.length)));
    if (first !== packed.length) throw new Error('there is data after its end');
    const length = await call(decompress, raw, raw.length, packed, packed.length);
    if (length === NO_ROOM) throw new Error(`it decompresses to more than ${raw.length} bytes`);
    checkLength(this.check(length), raw.length);
  }

  private check(length: number): number {
    if (length < 0) throw new Error(String(this.functions.nameError(length)));
    return length;
  }
}

/** Calls a function on another thread. */
function call(foreign: ForeignFunction, ...words: readonly unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    foreign.async(...words, (error: Error | null, result: unknown) => {
      if (error === null) resolve(Number(result));
      else reject(error);
    });
  });
}

let zstd: Promise<Codec | null> | undefined;

/** The codec, or null if this host does not have it. Only zstd can be missing: it needs Node 22.15 or libzstd. */
export async function loadCodec(name: CodecName): Promise<Codec | null> {
  switch (name) {
    case 'zlib':
      return zlibCodec;
    case 'brotli':
      return brotliCodec;
    case 'zstd':
      zstd ??= Promise.resolve(nodeZstdCodec()).then((codec) => codec ?? zstdLibraryCodec());
      return await zstd;
  }
}

/** What this host can compress and decompress, fastest first. */
export async function listCodecs(): Promise<CodecName[]> {
  const names: CodecName[] = [];
  for (const name of CODECS_BY_SPEED) if ((await loadCodec(name)) !== null) names.push(name);
  return names;
}
