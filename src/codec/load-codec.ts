import { brotliCodec, nodeZstdCodec, zlibCodec } from './built-in-codecs.js';
import { CODECS_BY_SPEED, type Codec, type CodecName } from './codec.js';
import { zstdLibraryCodec } from './zstd-library.js';

let zstd: Promise<Codec | null> | undefined;

/** The codec, or null where this host lacks it. Only zstd can be lacking: it needs Node 22.15 or libzstd. */
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
