import type { ReadWatch } from '../changes/change-source.js';
import { isReadOnly, type DeviceNumber } from '../device/device-facts.js';
import type { Spawner } from '../host/spawner.js';
import { LiveWatch } from '../snapshots/live-watch.js';
import type { DmSnapshot } from '../snapshots/snapshot.js';
import { stillnessOf, stoppedIdentity } from '../usage/write-stamp.js';

/** What is known about the bytes of a device-mapper device that is read. */
export interface MappedWatch {
  /** The identity of the state that is read; null if it has no identity, because another process may write to it. */
  readonly identity: string | null;
  readonly watch: Pick<ReadWatch, 'isConsistent' | 'dataProof'>;
}

/**
 * Watches a device-mapper volume, whose openers the kernel counts. `snapshot` is null if it is not a snapshot; a
 * writable snapshot is watched like any other volume. Must begin before we open it ourselves. Throws DeviceError,
 * CommandError.
 *
 * @param isQuiesced whether the user declares that no process writes to it; that does not give the state a name
 */
export async function watchMapped(
  spawner: Spawner,
  number: DeviceNumber,
  snapshot: DmSnapshot | null,
  isQuiesced: boolean,
): Promise<MappedWatch> {
  const live = await LiveWatch.begin(spawner, number);
  const stamp = live.wasOpen ? null : await stillnessOf(number);
  const isFrozen = async () => snapshot !== null && (await isReadOnly(number));
  const wasFrozen = await isFrozen();
  const isStill = async () => wasFrozen && (await isFrozen());
  return {
    identity: wasFrozen || !live.wasOpen ? (snapshot?.uuid ?? stoppedIdentity(stamp)) : null,
    watch: {
      isConsistent: async () =>
        (await isStill()) || (await (isQuiesced ? live.sawNoWrite() : live.sawNoWriter())),
      dataProof: async () => {
        const uuid = snapshot?.uuid ?? null;
        if (uuid !== null && (await isStill())) return `read-only ${uuid}`;
        return (await live.sawNoWriter()) ? stamp : null;
      },
    },
  };
}
