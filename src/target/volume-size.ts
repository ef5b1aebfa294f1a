import { join } from 'node:path';
import * as v from 'valibot';
import { readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';

/** The size of the volume that a target holds, where the target is larger: LVM gives out whole extents. Bytes. */
const noteSchema = v.object({ volumeSize: v.number(), targetSize: v.number() });

/** Notes how much of a target is the volume. Throws DeviceError. */
export async function noteVolumeSize(folder: string, volumeSize: number, targetSize: number): Promise<void> {
  const path = pathIn(folder);
  if (volumeSize < targetSize) await writeDurably(path, `${JSON.stringify({ volumeSize, targetSize })}\n`);
  else await removeDurably(path);
}

/** How much of a target of this size was the volume by its last run; null where that is all of it, or not known. */
export async function readVolumeSize(folder: string, targetSize: number): Promise<number | null> {
  const text = await readIfThere(pathIn(folder)).catch(() => null);
  const note = v.safeParse(v.pipe(v.string(), v.parseJson(), noteSchema), text);
  return note.success && note.output.targetSize === targetSize ? note.output.volumeSize : null;
}

function pathIn(folder: string): string {
  return join(folder, 'volume.json');
}
