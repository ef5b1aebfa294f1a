import { CODEC_LEVELS, CODECS_BY_SPEED, type Codec, type CodecName } from '../codec/codec.js';
import { loadCodec } from '../codec/load-codec.js';
import { ALWAYS, TrialJudge, type CompressionJudge } from '../engine/compression-judge.js';
import { BlockPacker } from '../engine/pack-blocks.js';
import { FarSideError, UsageError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';

/**
 * What a user wants of compression: none; whatever codec both sides have, where it makes the transfer faster; or
 * this codec, for each block that it makes shorter. Level null is the codec's usual one.
 */
export type CompressionWish =
  | { readonly kind: 'none' }
  | { readonly kind: 'auto' }
  | { readonly kind: 'codec'; readonly name: CodecName; readonly level: number | null };

export const NO_COMPRESSION: CompressionWish & { kind: 'none' } = { kind: 'none' };

/** What a receiver says of itself. */
export interface Decompressor {
  readonly host: string;
  readonly version: string;
  readonly codecs: readonly string[];
}

/** Begins to load what `choosePacker` will want, while the receiver is still at its own beginnings. */
export function prepareCodec(wish: CompressionWish): void {
  if (wish.kind === 'none') return;
  // Of the others nothing needs loading; whether it can be had is for choosePacker to say.
  loadCodec('zstd').catch(() => undefined);
}

/**
 * What compresses a session's blocks, null where nothing does. Throws FarSideError where the receiver cannot
 * decompress what was asked for, UsageError where this host cannot compress it.
 */
export async function choosePacker(
  wish: CompressionWish,
  far: Decompressor,
  about: Surroundings,
): Promise<BlockPacker | null> {
  if (wish.kind === 'none') return null;
  if (wish.kind === 'auto') {
    for (const name of CODECS_BY_SPEED) {
      const codec = far.codecs.includes(name) ? await loadCodec(name) : null;
      if (codec !== null)
        return packerOf(codec, null, new TrialJudge(about.clock, activeMilliseconds), about);
    }
    about.detail(`${far.host}: its lvmsync ${far.version} cannot decompress anything: blocks are sent uncompressed`);
    return null;
  }
  if (!far.codecs.includes(wish.name)) {
    const known = far.codecs.length === 0 ? 'no codec' : `only ${far.codecs.join(', ')}`;
    throw new FarSideError(
      `${far.host}: its lvmsync ${far.version} cannot decompress ${wish.name} (it supports ${known})`,
    );
  }
  return packerFor(wish, about);
}

/** What compresses with this very codec. Throws UsageError where this host cannot. */
export async function packerFor(
  { name, level }: Extract<CompressionWish, { kind: 'codec' }>,
  about: Surroundings,
): Promise<BlockPacker> {
  const codec = await loadCodec(name);
  if (codec === null) {
    throw new UsageError(`--codec ${name}: not available on this host: install libzstd1, or Node 22.15`);
  }
  return packerOf(codec, level, ALWAYS, about);
}

/** Tells those who asked for more what compressing did; the codec's name where it did anything. */
export function tellPacking(packer: BlockPacker | null, about: Surroundings): CodecName | null {
  if (packer === null) return null;
  const { blocks, rawBytes, packedBytes } = packer.totals;
  const { name } = packer.codec;
  if (blocks === 0) {
    about.detail(`compression: ${name} was not used: it would not have made this transfer faster`);
    return null;
  }
  const ratio = (rawBytes / packedBytes).toFixed(2);
  about.detail(
    `compression: ${name} compressed ${rawBytes} bytes to ${packedBytes} (${ratio} to 1) in ${blocks} blocks`,
  );
  return name;
}

/** How long this thread was at work since it began. */
function activeMilliseconds(): number {
  return performance.eventLoopUtilization().active;
}

function packerOf(codec: Codec, level: number | null, judge: CompressionJudge, about: Surroundings) {
  return new BlockPacker(codec, level ?? CODEC_LEVELS[codec.name].usual, judge, about.clock);
}
