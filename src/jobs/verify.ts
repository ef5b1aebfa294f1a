import { intersectExtents, sumLengths, uniteExtents, type Extent } from '../bytes/extent.js';
import type { ChangeSet } from '../changes/change-set.js';
import type { ChangeSource } from '../changes/change-source.js';
import { UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import type { Reach } from '../reach/far-side.js';
import { openVolume, type OpenVolume, sampleUnits } from '../sources/open-volume.js';
import { DEFAULT_POLICY } from '../targets/apply-policy.js';
import type { TargetSpec } from '../transport/target-spec.js';
import type { ComparisonRequest } from '../verify/hash-exchange.js';
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
    if (spec.repair)
      await readyTarget(sourceOf(volume, spec), { spec: spec.b, policy: DEFAULT_POLICY }, reach, env);
    const found = await compare({ near: volume.device, extents, unit, checkFarSize }, spec.b, reach, env);
    await volume.checkValid();
    const compareSeconds = secondsSince(begun);
    const remaining = spec.repair
      ? await repair({ volume, spec, differing: found.differing }, reach, env)
      : found.differing;
    return {
      ...found,
      remaining,
      outsideBytes: spec.auditPercent === null ? null : countOutside(found.differing, volume.changes),
      consistent: await volume.isConsistent(),
      compareSeconds,
      seconds: secondsSince(started),
    };
  } finally {
    await volume.close();
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

/** Two volumes that were compared. */
interface Compared {
  readonly volume: OpenVolume;
  readonly spec: VerifySpec;
  readonly differing: ChangeSet;
}

/** Sends what differs, as any transfer does, and compares it again. Returns what still differs. */
async function repair(
  { volume, spec, differing }: Compared,
  reach: Reach,
  env: Surroundings,
): Promise<ChangeSet> {
  if (differing.chunks.count === 0) return differing;
  const source: ChangeSource = {
    ...sourceOf(volume, spec),
    ...{ origin: spec.a, base: null, result: null },
    ...(isWhole(spec) ? { scope: 'compared' } : {}),
    volumeSize: volume.device.size,
    // The bytes that differ have no known old contents.
    ...{ baseVolume: null, unchangedVolume: null, isBaseReadOnly: false },
    live: false,
    readChanges: () => Promise.resolve(differing),
    checkValid: () => volume.checkValid(),
    isConsistent: () => volume.isConsistent(),
    dataProof: () => Promise.resolve(null),
    close: () => Promise.resolve(),
  };
  const destination = { kind: 'target', spec: spec.b, policy: DEFAULT_POLICY } as const;
  const how = { proofs: false, compression: { kind: 'auto' } } as const;
  await send(source, { destination, protocol: 4, reach, how }, env);
  const again: ComparisonRequest = {
    near: volume.device,
    extents: () => differing.extents(),
    unit: differing.granularity,
    checkFarSize: () => undefined,
  };
  return (await compare(again, spec.b, reach, env)).differing;
}

/** Whether every byte was compared. */
function isWhole({ changed, auditPercent }: VerifySpec): boolean {
  return changed === null && (auditPercent === null || auditPercent === 100);
}

function sourceOf({ device }: OpenVolume, { a }: VerifySpec) {
  return { name: a, data: device, paths: [device.path] };
}

function checkSizes({ a, b }: VerifySpec, size: number, farSize: number, env: Surroundings): void {
  if (farSize < size) {
    throw new UnsafeTargetError(b.path, `too small to equal ${a}: it has ${farSize} bytes, ${a} has ${size}`);
  }
  if (farSize > size) {
    env.notice(`${b.path}: ${farSize - size} bytes larger than ${a}; the extra bytes are not compared`);
  }
}

/** The number of bytes that differ and are not among the changes; null without a set of changes. */
function countOutside(differing: ChangeSet, changes: ChangeSet | null): number | null {
  if (changes === null) return null;
  const inside = intersectExtents(differing.extents(), changes.extents());
  return differing.changedBytes - sumLengths(inside);
}
