import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { CommandError, InterruptedError, LockedError, SnapshotError } from '../errors.js';
import { makePrivateFolder, readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';
import { lockFolder, type RunLock } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { readHeldRoot, readPoolStatus, type ThinPool, type ThinPoolStatus } from './thin-pool.js';

/** How long to wait for another run that reads the same pool: it takes only as long as thin_delta does. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 200;

/** What our note says about the metadata snapshot: its root, or null while it is being reserved. */
const noteSchema = v.object({ root: v.nullable(v.number()) });
type Note = v.InferOutput<typeof noteSchema>;

/**
 * Runs `work` while it holds the pool's metadata snapshot: reserved at the beginning and released at the end, whatever
 * happens. A snapshot that an earlier, killed run left is released first: a note in the state directory tells it from
 * a stranger's.
 *
 * Throws LockedError if another lvmsync holds it for a minute, or another program does; SnapshotError if the pool is
 * not in order, or lost the snapshot meanwhile; CommandError, DeviceError.
 */
export async function withMetadataSnapshot<T>(
  pool: ThinPool,
  what: string,
  env: Surroundings,
  work: () => Promise<T>,
): Promise<T> {
  const folder = join(env.stateDir, 'pools', encodeURIComponent(pool.key));
  await makePrivateFolder(folder);
  const lock = await lockPool(folder, pool, what, env);
  try {
    const holder = new MetadataSnapshot(pool, join(folder, 'metadata-snapshot.json'), env);
    await holder.settleLeftOver();
    return await holder.hold(work);
  } finally {
    await lock.release();
  }
}

async function lockPool(folder: string, pool: ThinPool, what: string, env: Surroundings): Promise<RunLock> {
  const giveUpAt = env.clock() + PATIENCE_MS;
  for (;;) {
    try {
      const holder = { what, pid: process.pid, startedAt: env.now() };
      return await lockFolder(folder, `the thin pool ${pool.dmName}`, holder);
    } catch (error) {
      if (!(error instanceof LockedError) || env.clock() > giveUpAt) throw error;
    }
    env.signal.throwIfAborted();
    await sleep(PAUSE_MS);
  }
}

class MetadataSnapshot {
  private readonly mapper: DeviceMapper;

  constructor(
    private readonly pool: ThinPool,
    /** The path of the note. */
    private readonly path: string,
    private readonly env: Surroundings,
  ) {
    this.mapper = new DeviceMapper(env.spawner);
  }

  /** Releases what a killed run of ours held. Throws LockedError if the held snapshot is not ours. */
  async settleLeftOver(): Promise<void> {
    const heldRoot = await this.heldRoot();
    const text = await readIfThere(this.path);
    const note = text === null ? null : parseNote(text);
    if (heldRoot !== null) {
      if (note === null || !isNoted(note, heldRoot)) throw this.heldByOthers(heldRoot);
      await this.giveBack();
      this.env.detail(`${this.pool.dmName}: released the metadata snapshot that an earlier run left behind`);
    }
    if (text !== null) await removeDurably(this.path);
  }

  async hold<T>(work: () => Promise<T>): Promise<T> {
    // A pool that is not in order is refused before anything is reserved.
    await this.checkInOrder();
    await this.reserve();
    let note: Note = { root: null };
    let outcome: T;
    try {
      note = await this.noteHeld();
      outcome = await work();
      await this.checkHeld(note);
    } catch (error) {
      // A released snapshot is overwritten while it is read: whatever error that caused, this is the reason.
      const isLost = !(error instanceof InterruptedError) && (await this.isLost(note));
      // The first error says more; if this fails too, the note is still there for the next run.
      await this.release(note).catch(() => undefined);
      throw isLost ? this.givenBack(error) : error;
    }
    await this.release(note);
    return outcome;
  }

  private async reserve(): Promise<void> {
    // Written first: a run killed after the message, before it could note the root, leaves a trace.
    await this.write({ root: null });
    try {
      await this.mapper.message(this.pool.number, 'reserve_metadata_snap');
    } catch (error) {
      // The kernel did not reserve it: a held snapshot, if any, is another program's.
      if (error instanceof CommandError) await removeDurably(this.path);
      throw error;
    }
  }

  private async noteHeld(): Promise<Note> {
    const root = await this.heldRoot();
    if (root === null)
      throw new SnapshotError(this.pool.dmName, 'another program released our metadata snapshot');
    await this.write({ root });
    return { root };
  }

  /** If another program releases it while it is read, the kernel may overwrite what is being read. */
  private async checkHeld(note: Note): Promise<void> {
    const { heldRoot } = await this.checkInOrder();
    if (heldRoot !== note.root) throw this.givenBack();
  }

  /** Whether the noted snapshot is certainly no longer held. */
  private async isLost({ root }: Note): Promise<boolean> {
    return root !== null && (await this.heldRoot().catch(() => root)) !== root;
  }

  private givenBack(cause?: unknown): SnapshotError {
    const problem = 'another program released the metadata snapshot while it was read: run lvmsync again';
    return new SnapshotError(this.pool.dmName, problem, { cause });
  }

  private async release(note: Note): Promise<void> {
    // Another program's snapshot may be held by now, if something released ours.
    const heldRoot = await this.heldRoot();
    if (heldRoot !== null && isNoted(note, heldRoot)) await this.giveBack();
    await removeDurably(this.path);
  }

  private async giveBack(): Promise<void> {
    await this.mapper.message(this.pool.number, 'release_metadata_snap');
  }

  private async write(note: Note): Promise<void> {
    await writeDurably(this.path, `${JSON.stringify(note)}\n`);
  }

  private heldRoot(): Promise<number | null> {
    return readHeldRoot(this.env.spawner, this.pool);
  }

  private checkInOrder(): Promise<ThinPoolStatus> {
    return readPoolStatus(this.env.spawner, this.pool);
  }

  private heldByOthers(root: number): LockedError {
    const { dmName } = this.pool;
    const holder = `a metadata snapshot (root block ${root}) that lvmsync did not reserve`;
    const wayOut =
      'another program is reading it, or left it behind; once no program reads it, ' +
      `"dmsetup message ${dmName} 0 release_metadata_snap" releases it`;
    return new LockedError(`the thin pool ${dmName}`, holder, wayOut);
  }
}

/** Whether a held snapshot is the noted one, as far as the note says. */
function isNoted(note: Note, heldRoot: number): boolean {
  return note.root === null || note.root === heldRoot;
}

function parseNote(text: string): Note | null {
  try {
    return v.parse(noteSchema, JSON.parse(text));
  } catch {
    return null;
  }
}
