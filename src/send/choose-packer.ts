import { CODEC_LEVELS, CODECS_BY_SPEED, type Codec, type CodecName } from '../codec/codec.js';
import { loadCodec } from '../codec/load-codec.js';
import { ALWAYS, TrialJudge, type CompressionJudge } from '../engine/compression-judge.js';
import { BlockPacker } from '../engine/pack-blocks.js';
import { FarSideError, UsageError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';

/**
 * Which compression the user wants: no compression; a codec that both sides have, if it makes the transfer faster; or
 * this codec, for each block that it makes smaller. Level null is the codec's default.
 */
export type CompressionWish =
  | { readonly kind: 'none' }
  | { readonly kind: 'auto' }
  | { readonly kind: 'codec'; readonly name: CodecName; readonly level: number | null };

export const NO_COMPRESSION: CompressionWish & { kind: 'none' } = { kind: 'none' };

/** What a receiver says about itself. */
export interface Decompressor {
  readonly host: string;
  readonly version: string;
  readonly codecs: readonly string[];
}

/** Begins to load the codec that `choosePacker` will probably need, while the receiver starts. */
export function prepareCodec(wish: CompressionWish): void {
  if (wish.kind === 'none') return;
  // The other codecs need no loading. Whether zstd is available is for choosePacker to report.
  loadCodec('zstd').catch(() => undefined);
}

/**
 * The packer for a session's blocks; null: no compression. Throws FarSideError if the receiver cannot decompress what
 * the user asked for, UsageError if this host cannot compress it.
 */
export async function choosePacker(
  wish: CompressionWish,
  far: Decompressor,
  env: Surroundings,
): Promise<BlockPacker | null> {
  if (wish.kind === 'none') return null;
  if (wish.kind === 'auto') {
    for (const name of CODECS_BY_SPEED) {
      const codec = far.codecs.includes(name) ? await loadCodec(name) : null;
      if (codec !== null) return packerOf(codec, null, new TrialJudge(env.clock, activeMilliseconds), env);
    }
    env.detail(
      `${far.host}: its lvmsync ${far.version} cannot decompress anything: blocks are sent uncompressed`,
    );
    return null;
  }
  if (!far.codecs.includes(wish.name)) {
    const known = far.codecs.length === 0 ? 'no codec' : `only ${far.codecs.join(', ')}`;
    throw new FarSideError(
      `${far.host}: its lvmsync ${far.version} cannot decompress ${wish.name} (it supports ${known})`,
    );
  }
  return packerFor(wish, env);
}

/** A packer with exactly this codec. Throws UsageError if this host does not have it. */
export async function packerFor(
  { name, level }: Extract<CompressionWish, { kind: 'codec' }>,
  env: Surroundings,
): Promise<BlockPacker> {
  const codec = await loadCodec(name);
  if (codec === null) {
    throw new UsageError(`--codec ${name}: not available on this host: install libzstd1, or Node 22.15`);
  }
  return packerOf(codec, level, ALWAYS, env);
}

/** Reports what the compression did, for a user who asked for more detail. Returns the codec's name if it was used. */
export function tellPacking(packer: BlockPacker | null, env: Surroundings): CodecName | null {
  if (packer === null) return null;
  const { blocks, rawBytes, packedBytes } = packer.totals;
  const { name } = packer.codec;
  if (blocks === 0) {
    env.detail(`compression: ${name} was not used: it would not have made this transfer faster`);
    return null;
  }
  const ratio = (rawBytes / packedBytes).toFixed(2);
  env.detail(
    `compression: ${name} compressed ${rawBytes} bytes to ${packedBytes} (${ratio} to 1) in ${blocks} blocks`,
  );
  return name;
}

/** How long this thread has been busy since it started. */
function activeMilliseconds(): number {
  return performance.eventLoopUtilization().active;
}

function packerOf(codec: Codec, level: number | null, judge: CompressionJudge, env: Surroundings) {
  return new BlockPacker(codec, level ?? CODEC_LEVELS[codec.name].usual, judge, env.clock);
}
