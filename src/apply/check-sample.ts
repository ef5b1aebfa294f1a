import type { BlockDevice } from '../device/block-device.js';
import { FormatError } from '../errors.js';
import { asBlock, type Proof, type StreamItem } from '../stream/block.js';
import type { IncomingItems } from '../stream/incoming-stream.js';
import type { StreamHeader } from '../stream/stream-header.js';
import { holdsProof, type LookResult, type SampleResult } from '../targets/base-check.js';

/** How many proofs to compare with a target at once. Limits the memory for what is read. */
const BATCH = 16;

/** Compares the sample after the header with the target. Throws FormatError, DeviceError. */
export async function checkSample(
  header: StreamHeader,
  items: IncomingItems,
  target: BlockDevice,
  what: string,
): Promise<SampleResult> {
  const { changed, unchanged } = header.sample ?? { changed: 0, unchanged: 0 };
  const look = async (count: number) => {
    const looking = new Look(target);
    while (looking.looked < count) {
      const item = await items.next();
      if (item?.kind !== 'proof') {
        const problem = `only ${looking.looked} proofs, but the header promises ${count}`;
        throw new FormatError(what, 0, 'sample', problem);
      }
      await looking.take(item);
    }
    return await looking.finish();
  };
  return { changed: await look(changed), unchanged: await look(unchanged) };
}

/**
 * Compares the other proofs before the first block with the target: those of blocks outside the change set, for a
 * receiver whose record is stale. Leaves the proof of the first block itself. Throws DeviceError.
 */
export async function checkCloserSample(items: IncomingItems, target: BlockDevice): Promise<LookResult> {
  const looking = new Look(target);
  let item = await items.next();
  for (; item?.kind === 'proof'; item = await items.next()) {
    const proof = item;
    const next = await items.next();
    if (next !== null) items.putBack(next);
    if (next !== null && isOfBlock(proof, next)) {
      items.putBack(proof);
      return await looking.finish();
    }
    await looking.take(proof);
  }
  if (item !== null) items.putBack(item);
  return await looking.finish();
}

/** A proof right before a block of the same extent belongs to that block. */
function isOfBlock(proof: Proof, item: StreamItem): boolean {
  const block = asBlock(item);
  return block !== null && block.offset === proof.offset && block.length === proof.length;
}

/** Compares proofs with a target, several at a time. */
class Look {
  looked = 0;
  private failed = 0;
  private readonly batch: Proof[] = [];

  constructor(private readonly target: BlockDevice) {}

  async take(proof: Proof): Promise<void> {
    this.looked += 1;
    if (this.batch.push(proof) === BATCH) await this.lookAtBatch();
  }

  async finish(): Promise<LookResult> {
    await this.lookAtBatch();
    return { looked: this.looked, failed: this.failed };
  }

  private async lookAtBatch(): Promise<void> {
    const looks = this.batch.splice(0).map((proof) => holdsProof(this.target, proof));
    // Wait for all of them, because the target may be closed after this.
    await Promise.allSettled(looks);
    for (const holds of await Promise.all(looks)) if (!holds) this.failed += 1;
  }
}
