import type { Extent } from '../extent.js';
import type { Applier } from '../target/applier.js';
import type { RunFindings } from '../target/apply-states.js';

type Found = Pick<Applier, 'mismatches' | 'failures'>;

/** An audit that comes in: from its begin on each section that fails is of what did not change, and so is what comes whole. */
export class ReceivedAudit {
  private constructor(
    readonly extent: Extent,
    private readonly before: Found,
    private readonly now: Readonly<Found>,
  ) {}

  /** Once all before it has been proved. Throws what the applier does. */
  static async begin({ offset, length }: Extent, applier: Applier): Promise<ReceivedAudit> {
    await applier.finish();
    const { mismatches, failures } = applier;
    return new ReceivedAudit({ offset, length }, { mismatches, failures }, applier);
  }

  /** What failed of the changes, and what of the audit. */
  findings(): Pick<RunFindings, 'failures' | 'strays'> {
    const { before, now } = this;
    const leastStrays = now.failures > before.failures ? 1 : 0;
    return { failures: before.failures, strays: Math.max(now.mismatches - before.mismatches, leastStrays) };
  }
}
