import { isReadOnly, type DeviceNumber } from '../device/device-facts.js';
import type { Spawner } from '../host/spawner.js';
import { LiveWatch } from '../snapshots/live-watch.js';
import type { DmSnapshot } from '../snapshots/snapshot.js';
import { stoppedIdentity } from '../targets/state-record.js';
import { stillnessOf } from '../usage/write-stamp.js';

/** What is known of the bytes of a device-mapper device that is read. */
export interface MappedWatch {
  /** The identity of the state that is read; null where it has none, as somebody has it open and can write. */
  readonly identity: string | null;
  /** After the last read: whether all that was read is the volume's state at one moment. */
  isConsistent(): Promise<boolean>;
  /** As a change source's. */
  dataProof(): Promise<string | null>;
}

/**
 * Watches a volume of device-mapper's, which counts who has it open; its snapshot, where it is one: a writable one is
 * a volume as any other. Begins before we open it ourselves. Throws DeviceError, CommandError.
 *
 * @param isQuiesced whether its user vouches that whoever has it open writes nothing; that names no state
 */
export async function watchMapped(
  spawner: Spawner,
  number: DeviceNumber,
  snapshot: DmSnapshot | null,
  isQuiesced: boolean,
): Promise<MappedWatch> {
  const watch = await LiveWatch.begin(spawner, number);
  const stamp = watch.wasOpen ? null : await stillnessOf(number);
  const isFrozen = async () => snapshot !== null && (await isReadOnly(number));
  const wasFrozen = await isFrozen();
  const isStill = async () => wasFrozen && (await isFrozen());
  return {
    identity: wasFrozen || !watch.wasOpen ? (snapshot?.uuid ?? stoppedIdentity(stamp)) : null,
    isConsistent: async () =>
      (await isStill()) || (await (isQuiesced ? watch.sawNoWrite() : watch.sawNoWriter())),
    dataProof: async () => {
      const uuid = snapshot?.uuid ?? null;
      if (uuid !== null && (await isStill())) return `read-only ${uuid}`;
      return (await watch.sawNoWriter()) ? stamp : null;
    },
  };
}
