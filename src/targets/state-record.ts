import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { InferOutput } from 'valibot';
import type { DeviceNumber } from '../device/device-facts.js';
import { readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';
import type { Spawner } from '../host/spawner.js';
import {
  identityOf,
  type DeviceIdentity,
  isGrownFrom,
  mappingOf,
  type Mapping,
} from '../usage/device-identity.js';
import {
  blindnessIn,
  compareStamps,
  eraOf,
  isAlone,
  fileStampOf,
  writeStampOf,
  type CountedWrites,
} from '../usage/write-stamp.js';
import { withoutEvidence } from './coverage.js';
import {
  parseRecord,
  parseSuspicion,
  stateIn,
  type stateSchema,
  type WrittenRecord,
} from './record-format.js';

/**
 * What a target is known to hold: exactly the state `identity`; or the state `identity` plus some of the changes made
 * since; or, during an apply, anything between that and the state `to`; or, until a full copy has ended, some bytes of
 * that state and some of what was there before.
 *
 * `from` is the base of the changes that led to this state, null if they had none. `table` is the table that listed
 * those changes: other changes from that base may be applied only if their table covers this one. `mark` is in the
 * header of the undo that leads back from here, if this state has no name. `believed` is set if the chain of evidence
 * has a gap, and says where. `proved` says how much of the target was compared or written, and since when; without it,
 * nothing is proved.
 */
export type TargetState = Readonly<InferOutput<typeof stateSchema>>;

/** How far a full copy has come: everything before the sender's token is on stable storage. */
export interface CopiedPlace {
  readonly token: Buffer;
  /** How many bytes of blocks came in before the token. */
  readonly changedBytes: number;
  /** When its first session began: ISO 8601; null: written by an earlier lvmsync, which did not note it. */
  readonly since: string | null;
}

/** What a record says about a target. */
export interface KnownState {
  /** Null: not known, because there is no record, or someone may have written since. */
  readonly holds: TargetState | null;
  /** Whether there is a record that is no longer valid: someone wrote since, or the device was created again. */
  readonly isStale: boolean;
  /** Why it is only believed, if that was just found out. */
  readonly gap?: string;
  /** The sender's run that brought the target to this state; null: it had no name. */
  readonly run: string | null;
  /** Where an interrupted copy can continue, if it ended in order and no one else wrote since. */
  readonly copied?: CopiedPlace;
  /** Where the next audit begins, whatever else is known. Bytes. */
  readonly auditFrom?: number;
  /** What brought the target to this state, in words. */
  readonly by?: string;
}

const CUT_SHORT = 'an apply to it was interrupted';
const REMAPPED = 'a snapshot of it was created, removed or merged since, or LVM changed its mapping';
const OTHER_BOOT = 'its state was recorded before the last boot, or by an earlier version of lvmsync';

/** Whether a target holds exactly this state, by a chain of evidence without a gap. */
export function isSurely(state: TargetState | null, identity: string | null): boolean {
  return state?.is === 'exactly' && state.believed === undefined && state.identity === identity;
}

/** Whether it is unknown, or only believed, what a target holds. */
export function isDoubtful(state: TargetState | null): boolean {
  return state === null || state.believed !== undefined;
}

export const UNKNOWN: KnownState = { holds: null, isStale: false, run: null };

/**
 * The record of a target's state, beside its journal. It is valid only while the target shows no sign of another
 * writer: by the write count of a block device within one boot, or by the times of a file.
 */
export class StateRecord {
  private readonly path: string;
  private readonly suspicionPath: string;
  private lastRead: string | null = null;

  /** @param folder the target's folder under the state directory */
  constructor(
    folder: string,
    private readonly target: {
      readonly path: string;
      readonly number: DeviceNumber | null;
      /** Reads where the bytes of a logical volume are; null: not known. */
      readonly mapping?: () => Promise<Mapping | null>;
    },
  ) {
    this.path = join(folder, 'state.json');
    this.suspicionPath = join(folder, 'suspicion.json');
  }

  /** The state, as far as it is known. */
  async read(): Promise<KnownState> {
    const { isMerged, ...known } = await this.look();
    if (isMerged) await this.write(known.holds, known.run, null, known.by ?? null);
    return known;
  }

  /** The same without a lock: writes nothing. `isMerged`: a merge that was running is over. */
  async look(): Promise<KnownState & { readonly isMerged: boolean }> {
    this.lastRead = await readIfThere(this.path);
    const record = parseRecord(this.lastRead ?? '');
    if (record === null) return { ...UNKNOWN, isMerged: false };
    const { merging, stamp, by } = record;
    const known = await this.judge(record);
    const isUntouched = merging && compareStamps(stamp, await this.stamp('its own')) === 'same';
    // If there is nothing below the volume any more, both stamps are the same: the merge is over, and a new one will
    // show.
    const isMerged = isUntouched && isAlone(stamp, await this.stamp());
    return { ...known, ...(by === undefined ? {} : { by }), isMerged };
  }

  /** When the state was recorded; null: there is no record. */
  async writtenAt(): Promise<Date | null> {
    return await stat(this.path).then(
      ({ mtime }) => mtime,
      () => null,
    );
  }

  private async judge(record: WrittenRecord): Promise<KnownState> {
    const { is, stamp, run, copied, merging, mapping } = record;
    const state = stateIn(record);
    const now = await this.stamp(merging ? 'its own' : 'all');
    const verdict = compareStamps(stamp, now);
    if (is === 'copying') {
      const place = verdict === 'same' && copied !== undefined ? { copied: placeOf(copied) } : {};
      return { holds: state, isStale: false, run, ...place };
    }
    // The apply itself has written since, and perhaps others have, too.
    if (is === 'applying from') return { holds: believe(state, CUT_SHORT), isStale: false, run };
    const isElsewhere = mapping !== undefined && (await this.isMappedElsewhere(mapping));
    if (verdict === 'same' && !isElsewhere) return { holds: state, isStale: false, run };
    if (verdict === 'same' || verdict === 'remapped') return believed(state, run, REMAPPED);
    const blindness = blindnessIn(now) ?? blindnessIn(stamp);
    const isComparable = eraOf(stamp) === eraOf(now) && blindness === null;
    if (verdict === 'moved' || isComparable) {
      const place = state.proved === undefined ? {} : { auditFrom: state.proved.position };
      return { holds: null, isStale: true, run: null, ...place };
    }
    return believed(state, run, blindness ?? OTHER_BOOT);
  }

  private async isMappedElsewhere(before: Mapping): Promise<boolean> {
    const { mapping } = this.target;
    return mapping !== undefined && !isGrownFrom(before, (await mapping()) ?? []);
  }

  /** Restores the record as it was last read, after an apply that failed before it wrote anything. */
  async putBack(): Promise<void> {
    if (this.lastRead === null) await removeDurably(this.path);
    else await writeDurably(this.path, this.lastRead);
  }

  /**
   * Records what the target holds from now on, and which run brought it there. Null: not known. An unfinished copy can
   * note how far it has come.
   */
  async write(
    state: TargetState | null,
    run: string | null = null,
    copied: CopiedPlace | null = null,
    by: string | null = null,
  ): Promise<void> {
    const place = copied === null ? {} : { copied: { ...copied, token: copied.token.toString('base64') } };
    const mapping = state === null ? null : ((await this.target.mapping?.()) ?? null);
    const laid = mapping === null ? {} : { mapping: [...mapping] };
    const record =
      state === null
        ? {}
        : { ...state, stamp: await this.stamp(), run, ...place, ...laid, ...(by === null ? {} : { by }) };
    await writeDurably(this.path, `${JSON.stringify(record)}\n`);
  }

  /**
   * Records that it is not known what the target holds, but keeps the record of a half-copied target. Only removes a
   * file, because there may be no free space.
   */
  async forget(): Promise<void> {
    if ((await this.read()).holds?.is !== 'copying') await this.remove();
  }

  /**
   * What a run found that contradicts what was known about the target; null: no contradiction. It outlives the record,
   * which may be lost or started again: only a run that has checked every block may remove it.
   */
  async suspicion(): Promise<string | null> {
    const text = await readIfThere(this.suspicionPath);
    if (text === null) return null;
    return parseSuspicion(text) ?? `${this.suspicionPath} is damaged`;
  }

  /** Sets the suspicion; null removes it. */
  async suspect(found: string | null): Promise<void> {
    if (found === (await this.suspicion())) return;
    if (found === null) await removeDurably(this.suspicionPath);
    else await writeDurably(this.suspicionPath, `${JSON.stringify({ found })}\n`);
  }

  /** Removes the record durably. */
  async remove(): Promise<void> {
    await removeDurably(this.path);
  }

  /**
   * Records what the target holds while LVM is still merging it in below the target: the writes of the merge are not
   * foreign.
   */
  async writeWhileMerging(state: TargetState): Promise<void> {
    const record = { ...state, stamp: await this.stamp('its own'), run: null, merging: true };
    await writeDurably(this.path, `${JSON.stringify(record)}\n`);
  }

  /**
   * Does work that changes the target's stamp but not its contents, such as creating a snapshot of it. What was known
   * before is known afterwards, unless someone wrote to the target meanwhile.
   */
  async keepThrough<T>(work: () => Promise<T>): Promise<T> {
    const { holds, run, by = null } = await this.read();
    const before = await this.stamp('its own');
    const result = await work();
    const isKnown = holds?.is === 'exactly' || holds?.is === 'since';
    if (isKnown && (await this.stamp('its own')) === before) await this.write(holds, run, null, by);
    return result;
  }

  /** A text that changes with each write, and also when the count of writes starts again. */
  async stamp(writes: CountedWrites = 'all'): Promise<string> {
    const { number, path } = this.target;
    if (number !== null) return await writeStampOf(number, writes);
    return await fileStampOf(path);
  }

  /** The identity of the target, whatever its path. */
  async identity(): Promise<DeviceIdentity> {
    return await identityOf(this.target.path, this.target.number);
  }
}

/** The record, in a folder, of a target on this host. */
export function recordOf(
  folder: string,
  { realPath, number }: { readonly realPath: string; readonly number: DeviceNumber | null },
  spawner: Spawner,
): StateRecord {
  const mapping = number === null ? {} : { mapping: () => mappingOf(spawner, number) };
  return new StateRecord(folder, { path: realPath, number, ...mapping });
}

/**
 * The same state with a gap in its chain of evidence, unless it has an earlier gap. What was proved before the gap may
 * have been overwritten since.
 */
export function believe(state: TargetState, gap: string): TargetState {
  const { believed = gap, proved } = state;
  return { ...state, believed, ...(proved === undefined ? {} : { proved: withoutEvidence(proved) }) };
}

/** What a record says if it is only believed from now on. */
function believed(state: TargetState, run: string | null, gap: string): KnownState {
  return { holds: believe(state, gap), isStale: false, run, ...(state.believed === gap ? {} : { gap }) };
}

function placeOf({ token, ...rest }: Omit<CopiedPlace, 'token'> & { token: string }): CopiedPlace {
  return { token: Buffer.from(token, 'base64'), ...rest };
}
