import { join } from 'node:path';
import * as v from 'valibot';
import { readOwn, removeDurably, writeDurably } from '../host/durable-file.js';
import type { Undo } from './states.js';

const NAME = '.lvmsync-prune.json';

const intentSchema = v.object({
  /** Undos that were to be removed once their replacements were in place. */
  removing: v.array(v.object({ name: v.string(), base: v.string(), result: v.string() })),
});

type Removing = v.InferOutput<typeof intentSchema>['removing'];

/**
 * The existing undos that an interrupted prune of a folder had begun to remove: the remaining ones do not show that
 * they are no longer needed. Throws DeviceError.
 */
export async function readPruneIntent(folder: string, undos: readonly Undo[]): Promise<Undo[]> {
  const intent = v.safeParse(intentSchema, parseJson((await readOwn(join(folder, NAME))) ?? ''));
  const removing: Removing = intent.success ? intent.output.removing : [];
  // By their states as well: another file may have the name by now.
  return undos.filter(({ archive, base, result }) =>
    removing.some((each) => each.name === archive.name && each.base === base && each.result === result),
  );
}

/** Notes durably which undos are about to be removed. Throws DeviceError. */
export async function writePruneIntent(folder: string, undos: readonly Undo[]): Promise<void> {
  const removing: Removing = undos.map(({ archive, base, result }) => ({ name: archive.name, base, result }));
  await writeDurably(join(folder, NAME), `${JSON.stringify({ removing })}\n`);
}

/** Removes the note: all of them are gone. Throws DeviceError. */
export async function forgetPruneIntent(folder: string): Promise<void> {
  await removeDurably(join(folder, NAME));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
