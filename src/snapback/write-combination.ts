import { crc32 } from 'node:zlib';
import type { LendBuffer } from '../byte-channel.js';
import { CODEC_IDS } from '../codec/codec.js';
import { isZero } from '../device/zero-test.js';
import type { Surroundings } from '../host/surroundings.js';
import type { FrameWriter } from '../stream/frame-writer.js';
import type { StreamHeader } from '../stream/stream-header.js';
import type { Combination } from './combination.js';
import { packBlocks, type Packing } from './pack-archive.js';
import { readCombination, readCombinedItems, type CombinedItem } from './read-combination.js';

/** What made an archive, for its header. */
export function makerOf({ hostname, now, version }: Pick<Surroundings, 'hostname' | 'now' | 'version'>) {
  return { host: hostname, time: now().toISOString(), writer: `lvmsync ${version}` };
}

/**
 * The header of a combination as an archive. An undo's time is the one at which its base came to be, as that of the
 * first archive is; that of changes, the one of the last.
 */
export function headerOfCombination(plan: Combination, maker: ReturnType<typeof makerOf>): StreamHeader {
  const { archives, kind, volumeSize, blockSize, base, result, bytes } = plan;
  const of = (kind === 'undo' ? archives[0] : archives.at(-1))?.header;
  return {
    ...{ kind, volumeSize, blockSize, base, result, expectedBytes: bytes },
    names: of?.names ?? {},
    ...maker,
    time: of?.time ?? maker.time,
  };
}

/**
 * Writes the blocks of a combination, compressed ones as they are unless a packing is given: all are then packed anew.
 * Proofs are left out: a combination's blocks are no longer those that were proved.
 */
export async function writeCombination(
  plan: Combination,
  writer: FrameWriter,
  packing: Packing | null,
  lend: LendBuffer,
  about: Pick<Surroundings, 'signal' | 'progress'>,
): Promise<void> {
  const { signal, progress } = about;
  const options = { lend, signal };
  if (packing === null) {
    for await (const item of readCombinedItems(plan, options)) {
      await writeItem(item, writer);
      progress.advance(item.length);
    }
    return;
  }
  for await (const block of packBlocks(readCombination(plan, options), packing)) {
    await block.write(writer);
    progress.advance(block.length);
  }
}

async function writeItem(item: CombinedItem, writer: FrameWriter): Promise<void> {
  const { offset, length } = item;
  if (item.kind === 'zero' || item.kind === 'discard') {
    await writer[item.kind](offset, length);
    return;
  }
  try {
    const { bytes } = item.data;
    if (item.kind === 'packed') await writer.stored(offset, length, CODEC_IDS[item.codec], bytes);
    else if (isZero(bytes)) await writer.zero(offset, length);
    else await writer.data(offset, bytes, { crc: item.crc ?? crc32(bytes) });
  } finally {
    item.data.release();
  }
}
