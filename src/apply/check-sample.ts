import { countOf } from '../bytes/amounts.js';
import type { BlockDevice } from '../device/block-device.js';
import { FormatError } from '../errors.js';
import { BlockBatch, ENTRY } from '../stream/batches/batch.js';
import type { Proof } from '../stream/block.js';
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
      const proof = await nextProof(items);
      if (proof === null) {
        const problem = `only ${countOf(looking.looked, 'proof')}, but the header promises ${count}`;
        throw new FormatError(what, 0, 'sample', problem);
      }
      await looking.take(proof);
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
  for (let proof = await nextProof(items, true); proof !== null; proof = await nextProof(items, true)) {
    await looking.take(proof);
  }
  return await looking.finish();
}

/**
 * Takes the next entry if it is a proof; null if it is anything else.
 *
 * @param alone only if it does not belong to a block: a proof right before a block of the same extent does
 */
async function nextProof(items: IncomingItems, alone = false): Promise<Proof | null> {
  const batch = await items.next();
  if (batch !== null) items.putBack(batch);
  if (!(batch instanceof BlockBatch)) return null;
  const { first } = batch;
  if (batch.kindAt(first) !== ENTRY.proof || (alone && isOfBlock(batch, first))) return null;
  const proof = { ...batch.extentAt(first), crc: batch.crcAt(first) };
  batch.first += 1;
  if (batch.first === batch.count) {
    await items.next();
    batch.release();
  }
  return proof;
}

function isOfBlock(batch: BlockBatch, proof: number): boolean {
  const next = proof + 1;
  return (
    next < batch.count &&
    batch.isBlockAt(next) &&
    batch.offsetAt(next) === batch.offsetAt(proof) &&
    batch.lengthAt(next) === batch.lengthAt(proof)
  );
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
