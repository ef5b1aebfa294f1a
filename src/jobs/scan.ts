import type { ChangeSet } from '../changes/change-set.js';
import type { Surroundings } from '../host/surroundings.js';
import type { Reach } from '../reach/far-side.js';
import { openWhole, sourceOfVolume, type WholeVolume } from '../sources/open-whole.js';
import type { Verified } from '../targets/coverage.js';
import { nameOfTarget, tellLarger } from '../transport/target-spec.js';
import { compare, COMPARE_UNIT, readyTarget } from './compare.js';
import { send, type Destination, type Route, type TransferSummary } from './transfer.js';

/** The destination of a scan. It cannot be a pipe, because a scan needs answers. */
export type ScanDestination = Extract<Destination, { kind: 'target' }>;

/** Where a scan sends what differs, and how. */
export interface ScanSending extends Route {
  readonly destination: ScanDestination;
}

/**
 * Makes a target equal to a volume or image file of this host without knowing what changed: everything is compared, and
 * what differs is sent as in any transfer. Throws as `transfer` and `compare`.
 */
export async function scan(
  name: string,
  sending: ScanSending,
  env: Surroundings,
  isQuiesced = false,
): Promise<TransferSummary> {
  const started = env.clock();
  const began = env.now().toISOString();
  const { destination, reach } = sending;
  const volume = await openWhole(name, env, isQuiesced);
  try {
    const differing = await findDifferences(volume, destination, reach, env);
    // A volume that was written to meanwhile is not in a state with a name.
    const result = (await volume.watch.isConsistent()) ? volume.identity : null;
    const source = sourceOfVolume(volume, { scope: 'compared', result }, differing);
    const summary = await send(source, { ...sending, protocol: 4 }, env);
    tellLarger(nameOfTarget(destination.spec), summary.targetSize, summary.volumeSize, env);
    const seconds = (env.clock() - started) / 1000;
    return { ...summary, verified: verifiedSince(began, summary), seconds, source: name };
  } finally {
    await volume.watch.close();
  }
}

/** What a run has proved that compared all of a volume, and sent what differed: the receiver only knows of the latter. */
export function verifiedSince(
  began: string,
  { verified, volumeSize }: Pick<TransferSummary, 'verified' | 'volumeSize'>,
): Verified | null {
  return verified === null ? null : { bytes: volumeSize, since: began };
}

/** Where a target differs from a volume, once it is known to be fit to be written. Throws as `scan`. */
export async function findDifferences(
  volume: WholeVolume,
  destination: ScanDestination,
  reach: Reach,
  env: Surroundings,
): Promise<ChangeSet> {
  await readyTarget(volume, destination, reach, env);
  const { device } = volume;
  const { size } = device;
  const comparison = {
    near: device,
    extents: () => (size === 0 ? [] : [{ offset: 0, length: size }]),
    unit: COMPARE_UNIT,
    // `readyTarget` has checked that it is large enough.
    checkFarSize: () => undefined,
  };
  const { differing } = await compare(comparison, destination.spec, reach, env);
  await volume.watch.checkValid();
  return differing;
}
