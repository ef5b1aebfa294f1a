import { createHash, randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { DeviceNumber } from '../device/device-facts.js';
import { readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';
import { writeStampOf } from './write-stamp.js';

/**
 * What a target is known to hold: exactly the state `identity`; or the state `identity` plus some of the
 * changes made since; or, while an apply runs, anything between the two.
 */
export interface TargetState {
  readonly is: 'exactly' | 'since' | 'applying from';
  readonly identity: string;
  /** The base of the changes that led to it, null where they had none: they may be applied once more. */
  readonly from: string | null;
}

/** What a record tells of a target. */
export interface KnownState {
  /** Null where it is not known: no record, or someone may have written since. */
  readonly holds: TargetState | null;
  /** Whether there is a record that no longer fits: someone wrote since, or its device was made anew. */
  readonly isStale: boolean;
  /** The run of a sender that brought it there, where that has a name. */
  readonly run: string | null;
}

export const UNKNOWN: KnownState = { holds: null, isStale: false, run: null };

const recordSchema = v.object({
  is: v.picklist(['exactly', 'since', 'applying from']),
  identity: v.string(),
  from: v.nullable(v.string()),
  stamp: v.string(),
  run: v.nullish(v.string(), null),
});

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
  private lastRead: string | null = null;

  /** @param folder the target's folder under the state directory */
  constructor(
    folder: string,
    private readonly target: { readonly path: string; readonly number: DeviceNumber | null },
  ) {
    this.path = join(folder, 'state.json');
  }

  /** The state, as far as it is known. */
  async read(): Promise<KnownState> {
    this.lastRead = await readIfThere(this.path);
    const record = v.safeParse(recordSchema, parseJson(this.lastRead ?? ''));
    if (!record.success) return UNKNOWN;
    const { is, identity, from, stamp, run } = record.output;
    const now = await this.stamp();
    // An apply that was under way has written since by itself.
    if (is === 'applying from' || stamp === now)
      return { holds: { is, identity, from }, isStale: false, run };
    // Counts of another boot tell nothing.
    return { holds: null, isStale: eraOf(stamp) === eraOf(now), run: null };
  }

  /** Puts back what was last read: for an apply that ended before it wrote anything. */
  async putBack(): Promise<void> {
    if (this.lastRead === null) await removeDurably(this.path);
    else await writeDurably(this.path, this.lastRead);
  }

  /** Records what the target holds from now on, and which run brought it there; null says that nobody knows. */
  async write(state: TargetState | null, run: string | null = null): Promise<void> {
    const record = state === null ? {} : { ...state, stamp: await this.stamp(), run };
    await writeDurably(this.path, `${JSON.stringify(record)}\n`);
  }

  /** Changes whenever someone writes, also when the count of writes starts anew. */
  async stamp(): Promise<string> {
    const { number, path } = this.target;
    if (number !== null) return await writeStampOf(number);
    const { mtimeNs, ctimeNs, ino } = await stat(path, { bigint: true });
    return `file ${ino} ${mtimeNs} ${ctimeNs}`;
  }
}

/** Within which stamps can be compared: a boot, or always for files. */
function eraOf(stamp: string): string | undefined {
  return stamp.split(' ')[0];
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
