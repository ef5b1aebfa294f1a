import { countOf, formatBoth } from '../bytes/amounts.js';
import { uniteExtents, type Extent } from '../bytes/extent.js';
import type { ChangeSet } from '../changes/change-set.js';
import { UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { Reach } from '../reach/far-side.js';
import { openVolume, type OpenVolume, sampleUnits } from '../sources/open-volume.js';
import { sourceOfVolume } from '../sources/open-whole.js';
import { DEFAULT_POLICY } from '../targets/apply-policy.js';
import type { TargetSpec } from '../transport/target-spec.js';
import type { ComparisonRequest } from '../verify/hash-exchange.js';
import { planRepair, type RepairStep } from '../verify/plan-repair.js';
import { compare, COMPARE_UNIT, readyTarget } from './compare.js';
import { send } from './transfer.js';

/** What is compared. */
export interface VerifySpec {
  /** A volume or an image file of this host. */
  readonly a: string;
  readonly b: TargetSpec;
  /** Compare only what changed since this snapshot; null for everything. */
  readonly changed: string | null;
  /** Compare only this share of the volume, drawn at random; with `changed`, in addition to that. */
  readonly auditPercent: number | null;
  /** Send what differs, and compare that again. */
  readonly repair: boolean;
}

/** What a verify found. Bytes and seconds. */
export interface VerifySummary {
  readonly comparedBytes: number;
  /** What the first comparison found to differ. */
  readonly differing: ChangeSet;
  /** What differs at the end: less than `differing` only after a repair. */
  readonly remaining: ChangeSet;
  /** What differs although it is not listed as changed since the snapshot; null unless that was audited. */
  readonly outsideBytes: number | null;
  /** Whether what was read from A is its state at one moment. */
  readonly consistent: boolean;
  /** The duration of the first comparison. `seconds` is that of everything. */
  readonly compareSeconds: number;
  readonly seconds: number;
}

/**
 * Compares two volumes: both sides compute digests at the same time. With `repair`, makes B equal to A where they
 * differ. A difference is a finding, not an error.
 *
 * Throws UnsafeTargetError if B is smaller than A; and what opening, reading and the connection to the far side throw.
 */
export async function verify(spec: VerifySpec, reach: Reach, env: Surroundings): Promise<VerifySummary> {
  const started = env.clock();
  const secondsSince = (moment: number) => (env.clock() - moment) / 1000;
  const volume = await openVolume(spec.a, spec.changed, env);
  try {
    const begun = env.clock();
    const unit = Math.min(COMPARE_UNIT, volume.changes?.granularity ?? COMPARE_UNIT);
    const extents = chooseExtents(volume, spec.auditPercent);
    const checkFarSize = (size: number) => {
      checkSizes(spec, volume.device.size, size, env);
    };
    // Take an interrupted apply back first: what it wrote would look equal now, and would be taken back later.
    if (spec.repair) await readyTarget(namedAs(spec.a, volume), destinationOf(spec), reach, env);
    const found = await compare({ near: volume.device, extents, unit, checkFarSize }, spec.b, reach, env);
    await volume.watch.checkValid();
    const compareSeconds = secondsSince(begun);
    const { differing } = found;
    const request = { repair: spec.repair, isWhole: isWhole(spec) };
    const changes = spec.auditPercent === null ? null : volume.changes;
    const { steps, outsideBytes } = planRepair(request, { differing, changes });
    let remaining = differing;
    for (const step of steps) remaining = (await repair(step, { volume, spec }, reach, env)) ?? remaining;
    return {
      ...found,
      remaining,
      outsideBytes,
      consistent: await volume.watch.isConsistent(),
      compareSeconds,
      seconds: secondsSince(started),
    };
  } finally {
    await volume.watch.close();
  }
}

function chooseExtents({ device, changes }: OpenVolume, auditPercent: number | null): () => Iterable<Extent> {
  const { size } = device;
  const sample = auditPercent === null ? null : sampleUnits(size, auditPercent);
  if (changes === null) {
    return () => sample?.extents() ?? (size === 0 ? [] : [{ offset: 0, length: size }]);
  }
  return () => uniteExtents(changes.extents(), sample?.extents() ?? []);
}

/** Takes one step of a repair. Returns what still differs, if it compares that. */
async function repair(
  step: RepairStep,
  { volume, spec }: { readonly volume: OpenVolume; readonly spec: VerifySpec },
  reach: Reach,
  env: Surroundings,
): Promise<ChangeSet | null> {
  const { what } = step;
  if (step.do === 'compare again') {
    const again: ComparisonRequest = {
      near: volume.device,
      extents: () => what.extents(),
      unit: what.granularity,
      checkFarSize: () => undefined,
    };
    return (await compare(again, spec.b, reach, env)).differing;
  }
  const watch = { ...volume.watch, dataProof: () => Promise.resolve(null) };
  const goal = { ...(step.scope === undefined ? {} : { scope: step.scope }), result: null };
  const source = sourceOfVolume({ ...namedAs(spec.a, volume), watch }, goal, what);
  const how = { proofs: false, compression: { kind: 'auto' } } as const;
  await send(source, { destination: destinationOf(spec), protocol: 4, reach, how }, env);
  return null;
}

function destinationOf({ b }: VerifySpec) {
  return { kind: 'target', spec: b, policy: DEFAULT_POLICY } as const;
}

/** Whether every byte was compared. */
function isWhole({ changed, auditPercent }: VerifySpec): boolean {
  return changed === null && (auditPercent === null || auditPercent === 100);
}

function namedAs(name: string, { device }: OpenVolume) {
  return { name, device, paths: [device.path] };
}

function checkSizes({ a, b }: VerifySpec, size: number, farSize: number, env: Surroundings): void {
  if (farSize < size) {
    const [has, needs] = formatBoth(farSize, size);
    const advice = `to let --repair make it equal, enlarge it to ${size} bytes first`;
    throw new UnsafeTargetError(
      b.path,
      `too small to equal ${a}: it has ${has}, and ${a} has ${needs}; ${advice}`,
    );
  }
  if (farSize > size) {
    env.notice(
      `${b.path}: ${countOf(farSize - size, 'byte')} larger than ${a}; the extra bytes are not compared`,
    );
  }
}
