import { createHash, randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { DeviceNumber } from '../device/device-facts.js';
import { readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';
import type { Spawner } from '../host/spawner.js';
import { tableSchema } from '../stream/stream-header.js';
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
import { coverageSchema, withoutEvidence } from './coverage.js';

export const stateSchema = v.object({
  is: v.picklist(['exactly', 'since', 'applying from', 'copying']),
  identity: v.string(),
  from: v.nullable(v.string()),
  believed: v.exactOptional(v.string()),
  to: v.exactOptional(v.string()),
  mark: v.exactOptional(v.string()),
  table: v.exactOptional(tableSchema),
  proved: v.exactOptional(coverageSchema),
});

/**
 * What a target is known to hold: exactly the state `identity`; or the state `identity` plus some of the
 * changes made since; or, while an apply runs, anything between that and the state `to`; or, until a full copy has
 * ended, some of that state's bytes and some of whatever was there.
 *
 * `from` is the base of the changes that led to it, null where they had none, and `table` what named those changes:
 * other changes from that base may meet this target only where their table covers this one. `mark` is what the undo that
 * leads back from here has in its header, where this state has no name. `believed` is there where
 * no chain of evidence without a gap leads to all this: it says where the gap is. `proved` says how much of it was compared or written since
 * when; without it, nothing is known of that.
 */
export type TargetState = Readonly<v.InferOutput<typeof stateSchema>>;

/** How far a full copy has come: all before the sender's token is on stable storage. */
export interface CopiedPlace {
  readonly token: Buffer;
  /** Bytes of blocks that came in before it. */
  readonly changedBytes: number;
  /** When its first session began: ISO 8601; null where an earlier lvmsync did not say. */
  readonly since: string | null;
}

/** What a record tells of a target. */
export interface KnownState {
  /** Null where it is not known: no record, or someone may have written since. */
  readonly holds: TargetState | null;
  /** Whether there is a record that no longer fits: someone wrote since, or its device was made anew. */
  readonly isStale: boolean;
  /** Why it is no more than believed, where that was found just now. */
  readonly gap?: string;
  /** The run of a sender that brought it there, where that has a name. */
  readonly run: string | null;
  /** Where a copy that was cut short can go on: nobody wrote since it was left in order. */
  readonly copied?: CopiedPlace;
  /** Where an audit is to go on, whatever else is known. Bytes. */
  readonly auditFrom?: number;
  /** What brought it there, in words. */
  readonly by?: string;
}

const CUT_SHORT = 'an apply to it was interrupted';
const REMAPPED = 'a snapshot of it was created, removed or merged since, or LVM changed its mapping';
const OTHER_BOOT = 'its state was recorded before the last boot, or by an earlier version of lvmsync';

/** Whether a target holds exactly this state, by a chain of evidence without a gap. */
export function isSurely(state: TargetState | null, identity: string | null): boolean {
  return state?.is === 'exactly' && state.believed === undefined && state.identity === identity;
}

/** Whether nothing, or no more than a belief, says what a target holds. */
export function isDoubtful(state: TargetState | null): boolean {
  return state === null || state.believed !== undefined;
}

export const UNKNOWN: KnownState = { holds: null, isStale: false, run: null };

const recordSchema = v.object({
  ...stateSchema.entries,
  stamp: v.string(),
  run: v.nullish(v.string(), null),
  by: v.exactOptional(v.string()),
  copied: v.exactOptional(
    v.object({
      token: v.pipe(v.string(), v.base64()),
      changedBytes: v.number(),
      since: v.nullish(v.string(), null),
    }),
  ),
  /** Where a logical volume's bytes lay. */
  mapping: v.exactOptional(v.array(v.string())),
  /** Whether the stamp is of the volume alone, as a merge writes below it. */
  merging: v.nullish(v.boolean(), false),
});

const suspicionSchema = v.object({ found: v.string() });

/** The identity of a state that no snapshot froze: of an origin that nobody had open. */
export const STOPPED_PREFIX = 'stopped-';

/**
 * An identity for the state of an origin that nobody writes to: the same in each run that finds the same stamp on it,
 * so that one run can go on with what another began; a fresh one without a stamp.
 */
export function stoppedIdentity(stamp: string | null): string {
  if (stamp === null) return `${STOPPED_PREFIX}${randomUUID()}`;
  return `${STOPPED_PREFIX}${createHash('sha256').update(stamp).digest('hex').slice(0, 32)}`;
}

/**
 * The record of a target's state, beside its journal. It counts only while the target shows no sign of another
 * writer: a block device's write count within one boot, a file's times.
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
      /** Asks where a logical volume's bytes lie; null where that is not known. */
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

  /** The same, for whoever holds no lock: writes nothing. And whether a merge is over that was under way. */
  async look(): Promise<KnownState & { readonly isMerged: boolean }> {
    this.lastRead = await readIfThere(this.path);
    const record = v.safeParse(recordSchema, parseJson(this.lastRead ?? ''));
    if (!record.success) return { ...UNKNOWN, isMerged: false };
    const { merging, stamp, by } = record.output;
    const known = await this.judge(record.output);
    const isUntouched = merging && compareStamps(stamp, await this.stamp('its own')) === 'same';
    // Where nothing lies below any more, the two are the same: the merge is over, and another one will show.
    const isMerged = isUntouched && isAlone(stamp, await this.stamp());
    return { ...known, ...(by === undefined ? {} : { by }), isMerged };
  }

  /** When it was recorded; null where it is not. */
  async writtenAt(): Promise<Date | null> {
    return await stat(this.path).then(
      ({ mtime }) => mtime,
      () => null,
    );
  }

  private async judge(record: v.InferOutput<typeof recordSchema>): Promise<KnownState> {
    const { is, stamp, run, copied, merging, mapping } = record;
    const state = stateOf(record);
    const now = await this.stamp(merging ? 'its own' : 'all');
    const verdict = compareStamps(stamp, now);
    if (is === 'copying') {
      const place = verdict === 'same' && copied !== undefined ? { copied: placeOf(copied) } : {};
      return { holds: state, isStale: false, run, ...place };
    }
    // It has written since by itself, and perhaps not it alone.
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

  /** Puts back what was last read: for an apply that ended before it wrote anything. */
  async putBack(): Promise<void> {
    if (this.lastRead === null) await removeDurably(this.path);
    else await writeDurably(this.path, this.lastRead);
  }

  /**
   * Records what the target holds from now on, and which run brought it there; null says that nobody knows. A copy that
   * has not ended can note how far it has come.
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
   * Records that nobody knows what the target holds; that it is half-copied stays known. Writes nothing, as there may
   * be no room.
   */
  async forget(): Promise<void> {
    if ((await this.read()).holds?.is !== 'copying') await this.remove();
  }

  /**
   * What a run found that contradicts what was known of the target; null where nothing does. It outlives the record,
   * which may be lost or begun anew: only who has seen every block can take it away.
   */
  async suspicion(): Promise<string | null> {
    const text = await readIfThere(this.suspicionPath);
    if (text === null) return null;
    const said = v.safeParse(suspicionSchema, parseJson(text));
    return said.success ? said.output.found : `${this.suspicionPath} is damaged`;
  }

  /** Notes what `suspicion` tells from now on; null: nothing any more. */
  async suspect(found: string | null): Promise<void> {
    if (found === (await this.suspicion())) return;
    if (found === null) await removeDurably(this.suspicionPath);
    else await writeDurably(this.suspicionPath, `${JSON.stringify({ found })}\n`);
  }

  /** Removes the record, for good. */
  async remove(): Promise<void> {
    await removeDurably(this.path);
  }

  /** Records what the target holds while LVM merges the rest of that in below it: those writes are nobody else's. */
  async writeWhileMerging(state: TargetState): Promise<void> {
    const record = { ...state, stamp: await this.stamp('its own'), run: null, merging: true };
    await writeDurably(this.path, `${JSON.stringify(record)}\n`);
  }

  /**
   * Does some work that leaves what the target holds as it is, but not its stamp, such as what gives it a snapshot:
   * what was known before is known afterwards, unless someone wrote to it meanwhile.
   */
  async keepThrough<T>(work: () => Promise<T>): Promise<T> {
    const { holds, run, by = null } = await this.read();
    const before = await this.stamp('its own');
    const result = await work();
    const isKnown = holds?.is === 'exactly' || holds?.is === 'since';
    if (isKnown && (await this.stamp('its own')) === before) await this.write(holds, run, null, by);
    return result;
  }

  /** Changes whenever someone writes, also when the count of writes starts anew. */
  async stamp(writes: CountedWrites = 'all'): Promise<string> {
    const { number, path } = this.target;
    if (number !== null) return await writeStampOf(number, writes);
    return await fileStampOf(path);
  }

  /** What the target is, whatever path leads to it. */
  async identity(): Promise<DeviceIdentity> {
    return await identityOf(this.target.path, this.target.number);
  }
}

/** The record of a target of this host that is kept in a folder. */
export function recordOf(
  folder: string,
  { realPath, number }: { readonly realPath: string; readonly number: DeviceNumber | null },
  spawner: Spawner,
): StateRecord {
  const mapping = number === null ? {} : { mapping: () => mappingOf(spawner, number) };
  return new StateRecord(folder, { path: realPath, number, ...mapping });
}

/**
 * The same state, with where its chain of evidence has a gap, unless it has an earlier one. What was proved before the gap
 * may have been overwritten in it.
 */
export function believe(state: TargetState, gap: string): TargetState {
  const { believed = gap, proved } = state;
  return { ...state, believed, ...(proved === undefined ? {} : { proved: withoutEvidence(proved) }) };
}

/** What a record says that is no more than believed from now on. */
function believed(state: TargetState, run: string | null, gap: string): KnownState {
  return { holds: believe(state, gap), isStale: false, run, ...(state.believed === gap ? {} : { gap }) };
}

/** What of a record is the state. */
function stateOf(record: TargetState): TargetState {
  return v.parse(stateSchema, record);
}

function placeOf({ token, ...rest }: Omit<CopiedPlace, 'token'> & { token: string }): CopiedPlace {
  return { token: Buffer.from(token, 'base64'), ...rest };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
