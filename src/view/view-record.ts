import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { DeviceError, FormatError, isErrno, UsageError } from '../errors.js';
import { makePrivateFolder, readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';
import { lockFolder, type RunLock } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';

const text = v.string();
const nullableText = v.nullable(v.string());

/** What a view of a logical volume is made of. */
const volumeSchema = v.object({
  form: v.literal('volume'),
  /** `vg/lv`, the volume that the view is of. */
  origin: text,
  /** `vg/lv`: first the store, then the snapshot that it becomes. */
  store: text,
  /** The LVM tag of this view only. */
  tag: text,
});

const loopSchema = v.nullable(v.object({ path: text, shows: text }));

/** What a view of any other device, or of an image file, is made of; null for a part that it does not have. */
const deviceSchema = v.object({
  form: v.literal('device'),
  /** The UUID of the view's device-mapper device. */
  uuid: text,
  /** The full path, with a mark in the name that belongs to this view only. */
  storeFile: text,
  storeLoop: loopSchema,
  /** The read-only loop device of an image file. */
  targetLoop: loopSchema,
  /** Whether we made the target read-only. */
  madeReadOnly: v.boolean(),
});

const recordSchema = v.object({
  name: text,
  /** A kill before it is `open` leaves it half-made. */
  step: v.picklist(['opening', 'open']),
  purpose: v.picklist(['view', 'rollback']),
  /** The target as its user named it; without links; and the key that identifies it across runs. */
  target: text,
  realPath: text,
  key: text,
  /** The identity of the state that it shows; null if the state has no name. */
  state: nullableText,
  openedAt: text,
  parts: v.variant('form', [volumeSchema, deviceSchema]),
});

/**
 * A record of what a view is made of. Each part is recorded before it is made, so that the parts of a killed run can
 * be removed.
 */
export type ViewRecord = v.InferOutput<typeof recordSchema>;
export type VolumeParts = v.InferOutput<typeof volumeSchema>;
export type DeviceParts = v.InferOutput<typeof deviceSchema>;

/** A view's folder in the state directory, locked by us. */
export class ViewEntry {
  private constructor(
    readonly name: string,
    readonly folder: string,
    private readonly lock: RunLock,
  ) {}

  /** Locks a name for us. Throws UsageError for an invalid name, LockedError, DeviceError. */
  static async take(name: string, what: string, stateDir: string, env: Surroundings): Promise<ViewEntry> {
    checkName(name);
    const folder = join(stateDir, 'views', name);
    await makePrivateFolder(folder);
    const holder = { what, pid: process.pid, startedAt: env.now() };
    return new ViewEntry(name, folder, await lockFolder(folder, `the view ${name}`, holder));
  }

  /** Throws FormatError if the record is damaged, DeviceError. */
  async read(): Promise<ViewRecord | null> {
    return await readRecord(this.folder);
  }

  /** Throws UsageError if a view of this name exists, open or half-made. */
  async refuseSecond(): Promise<void> {
    const earlier = await this.read();
    if (earlier === null) return;
    const how = earlier.step === 'open' ? 'is open' : 'was left half-open by a run that was cut short';
    throw new UsageError(
      `a view ${this.name} of ${earlier.target} ${how}: run "lvmsync view close ${this.name}" first`,
    );
  }

  async write(record: ViewRecord): Promise<void> {
    await writeDurably(recordPath(this.folder), `${JSON.stringify(record)}\n`);
  }

  /** Removes the record. The folder and its lock stay. */
  async remove(): Promise<void> {
    await removeDurably(recordPath(this.folder));
  }

  async release(): Promise<void> {
    await this.lock.release();
  }
}

/** All recorded views, by name. Throws FormatError, DeviceError. */
export async function readViews(stateDir: string): Promise<ViewRecord[]> {
  const folder = join(stateDir, 'views');
  const names = await readdir(folder).catch((error: unknown): string[] => {
    if (isErrno(error, 'ENOENT')) return [];
    throw new DeviceError(folder, 'read', null, error);
  });
  const records = await Promise.all(names.sort().map((name) => readRecord(join(folder, name))));
  return records.filter((record) => record !== null);
}

async function readRecord(folder: string): Promise<ViewRecord | null> {
  const path = recordPath(folder);
  const words = await readIfThere(path);
  if (words === null) return null;
  try {
    return v.parse(recordSchema, JSON.parse(words));
  } catch {
    throw new FormatError(path, 0, 'record', 'not a record that lvmsync wrote');
  }
}

function recordPath(folder: string): string {
  return join(folder, 'view.json');
}

/** A view's name is also the name of a device and of a folder. */
function checkName(name: string): void {
  if (/^[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,63}$/.test(name)) return;
  throw new UsageError(
    `${name}: a view's name is up to 64 letters, digits and _ . + -, and does not begin with . or -`,
  );
}
