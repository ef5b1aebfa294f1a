import { open } from 'node:fs/promises';
import type { BlockDevice } from '../device/block-device.js';
import { DeviceError } from '../errors.js';
import { Applier } from './applier.js';
import { forget, isSettled, readNote, settleFinished, type ApplyNote, type Settled } from './journal.js';
import {
  OldBytes,
  readJournal,
  type JournalContents,
  type ResumePlace,
  type SavedExtent,
} from './journal-reader.js';
import type { StateRecord } from './state-record.js';
import { checkWrites } from './written-blocks.js';

/** What recovering found and did. */
export type RecoverOutcome =
  | { readonly kind: 'nothing to do' }
  /** A full copy to it was cut short, which nothing takes back. */
  | { readonly kind: 'half copied' }
  /** The apply was done: the target holds its result. */
  | ({ readonly kind: 'holds the result' } & Settled)
  /** The target was taken back to what it held before the apply. Bytes. */
  | { readonly kind: 'taken back'; readonly bytes: number };

export interface RecoverOptions {
  /** Write the old bytes back also where someone else wrote since. */
  readonly evenIfChanged?: boolean;
}

/** Says what became of an earlier apply that had not ended. */
export function describeRecovery(path: string, outcome: RecoverOutcome): string {
  switch (outcome.kind) {
    case 'nothing to do':
      return `${path}: nothing to recover: no apply to it was cut short`;
    case 'half copied':
      return `${path}: it holds a part of a copy that was cut short: run "lvmsync copy" again; nothing takes that back`;
    case 'holds the result':
      return `${path}: the earlier apply was done to its end: it holds the result${outcome.problem === null ? '' : `; ${outcome.problem}`}`;
    case 'taken back':
      return `${path}: the earlier apply had not ended: taken back to what it held before (${outcome.bytes} bytes)`;
  }
}

/**
 * Takes a target back to what it held before an apply that did not end, or finds that the apply was done. Does
 * nothing twice: a crash while it runs is recovered by running it again.
 *
 * Throws BaseMismatchError, before any write, where a block is neither old nor new: someone wrote since.
 * Throws FormatError where the journal is damaged, DeviceError.
 */
export async function recoverTarget(
  folder: string,
  target: BlockDevice,
  record: StateRecord,
  options: RecoverOptions = {},
): Promise<RecoverOutcome> {
  const note = await readNote(folder);
  if (note === null) {
    const isHalf = (await record.read()).holds?.is === 'copying';
    return { kind: isHalf ? 'half copied' : 'nothing to do' };
  }
  // Whatever happens now, what was recorded of the target's state is no longer known to be true.
  await record.forget();
  if (await isSettled(note)) return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
  const contents = await readJournal(note.log);
  if (contents.isFinished) return { kind: 'holds the result', ...(await settleFinished(folder, note)) };
  const bytes = await takeBack(target, contents, note, options);
  await forget(folder, note);
  return { kind: 'taken back', bytes };
}

/**
 * Takes a target back to a place of its journal, where an apply can be taken up again; before it the target must
 * hold all that was written. Returns the bytes that were written back. Throws as `recoverTarget`.
 */
export async function takeBackTo(
  place: ResumePlace,
  target: BlockDevice,
  contents: JournalContents,
  note: ApplyNote,
): Promise<number> {
  const saved = contents.saved.slice(place.savedCount);
  const writes = contents.writes.slice(place.writeCount);
  return await takeBack(target, { ...contents, saved, writes }, note, {});
}

async function takeBack(
  target: BlockDevice,
  contents: JournalContents,
  note: ApplyNote,
  { evenIfChanged = false }: RecoverOptions,
): Promise<number> {
  const file = await open(note.log, 'r').catch((error: unknown) => {
    throw new DeviceError(note.log, 'open', null, error);
  });
  try {
    const old = new OldBytes(file, note.log, contents.saved);
    if (!evenIfChanged) await checkWrites(target, contents.writes, old, note.log);
    return await writeOld(target, contents.saved, old);
  } finally {
    await file.close();
  }
}

async function writeOld(target: BlockDevice, saved: readonly SavedExtent[], old: OldBytes): Promise<number> {
  const applier = new Applier(target);
  let bytes = 0;
  try {
    for (const extent of saved) {
      const { offset, length } = extent;
      if (extent.position === null) await applier.apply({ kind: 'zero', offset, length });
      else {
        const data = { bytes: await old.read(extent), release: () => undefined };
        await applier.apply({ kind: 'data', offset, length, data });
      }
      bytes += length;
    }
    await applier.finish();
    return bytes;
  } catch (error) {
    await applier.abandon();
    throw error;
  }
}
