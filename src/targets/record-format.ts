import * as v from 'valibot';
import { tableSchema } from '../stream/stream-header.js';
import { coverageSchema } from './coverage.js';

/*
 * How a target's record is written down in its folder. Other versions of lvmsync read and wrote these files, too: a
 * field may be added, and is then missing in older records.
 */

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
  /** Where the bytes of a logical volume were. */
  mapping: v.exactOptional(v.array(v.string())),
  /** Whether the stamp counts writes to the volume alone, because a merge writes below it. */
  merging: v.nullish(v.boolean(), false),
});

const suspicionSchema = v.object({ found: v.string() });

/** A record as it was written. */
export type WrittenRecord = v.InferOutput<typeof recordSchema>;

/** Parses `state.json`; null: it says nothing that can be relied on. */
export function parseRecord(text: string): WrittenRecord | null {
  const record = v.safeParse(v.pipe(v.string(), v.parseJson(), recordSchema), text);
  return record.success ? record.output : null;
}

/** The part of a record that is the state. */
export function stateIn(record: WrittenRecord): v.InferOutput<typeof stateSchema> {
  return v.parse(stateSchema, record);
}

/** Parses `suspicion.json`; null: it is damaged. */
export function parseSuspicion(text: string): string | null {
  const suspicion = v.safeParse(v.pipe(v.string(), v.parseJson(), suspicionSchema), text);
  return suspicion.success ? suspicion.output.found : null;
}
