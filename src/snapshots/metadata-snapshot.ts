import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { CommandError, InterruptedError, LockedError, SnapshotError } from '../errors.js';
import { makePrivateFolder, readIfThere, removeDurably, writeDurably } from '../host/durable-file.js';
import { lockFolder, type RunLock } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import { readHeldRoot, readPoolStatus, type ThinPool, type ThinPoolStatus } from './thin-pool.js';

/** How long another run that reads the same pool is waited for: it only takes as long as thin_delta does. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 200;

/** What our note says of the metadata snapshot that is held: its root, or null while it is being reserved. */
const noteSchema = v.object({ root: v.nullable(v.number()) });
type Note = v.InferOutput<typeof noteSchema>;

/**
 * Does some work while the pool's metadata snapshot is held for it, taken fresh at the beginning and given back at
 * the end, whatever happens. What a run before this one left, killed in the middle, is given back first: a note in
 * the state directory tells it from a stranger's.
 *
 * Throws LockedError where another lvmsync holds it for a minute, or anyone else does; SnapshotError where the pool
 * is not in order, or lost the snapshot meanwhile; CommandError, DeviceError.
 */
export async function withMetadataSnapshot<T>(
  pool: ThinPool,
  what: string,
  about: Surroundings,
  work: () => Promise<T>,
): Promise<T> {
  const folder = join(about.stateDir, 'pools', encodeURIComponent(pool.key));
  await makePrivateFolder(folder);
  const lock = await lockPool(folder, pool, what, about);
  try {
    const holder = new MetadataSnapshot(pool, join(folder, 'metadata-snapshot.json'), about);
    await holder.settleLeftOver();
    return await holder.hold(work);
  } finally {
    await lock.release();
  }
}

async function lockPool(folder: string, pool: ThinPool, what: string, about: Surroundings): Promise<RunLock> {
  const giveUpAt = about.clock() + PATIENCE_MS;
  for (;;) {
    try {
      const holder = { what, pid: process.pid, startedAt: about.now() };
      return await lockFolder(folder, `the thin pool ${pool.dmName}`, holder);
    } catch (error) {
      if (!(error instanceof LockedError) || about.clock() > giveUpAt) throw error;
    }
    about.signal.throwIfAborted();
    await sleep(PAUSE_MS);
  }
}

class MetadataSnapshot {
  private readonly mapper: DeviceMapper;

  constructor(
    private readonly pool: ThinPool,
    /** Where the note lies. */
    private readonly path: string,
    private readonly about: Surroundings,
  ) {
    this.mapper = new DeviceMapper(about.spawner);
  }

  /** Gives back what a killed run of ours held. Throws LockedError where what is held is not ours. */
  async settleLeftOver(): Promise<void> {
    const heldRoot = await this.heldRoot();
    const text = await readIfThere(this.path);
    const note = text === null ? null : parseNote(text);
    if (heldRoot !== null) {
      if (note === null || !isNoted(note, heldRoot)) throw this.heldByOthers(heldRoot);
      await this.giveBack();
      this.about.detail(
        `${this.pool.dmName}: gave back the metadata snapshot that a run before this one left`,
      );
    }
    if (text !== null) await removeDurably(this.path);
  }

  async hold<T>(work: () => Promise<T>): Promise<T> {
    // One that is not in order says so before anything is taken of it.
    await this.checkInOrder();
    await this.reserve();
    let note: Note = { root: null };
    let outcome: T;
    try {
      note = await this.noteHeld();
      outcome = await work();
      await this.checkHeld(note);
    } catch (error) {
      // What is given back is written over while it is read: whatever that led to, this is the reason.
      const isLost = !(error instanceof InterruptedError) && (await this.isLost(note));
      // What went wrong first says more; where this fails too, the note is still there for the next run.
      await this.release(note).catch(() => undefined);
      throw isLost ? this.givenBack(error) : error;
    }
    await this.release(note);
    return outcome;
  }

  private async reserve(): Promise<void> {
    // Before: whoever is killed behind the message, and before it could note the root, leaves a sign of it.
    await this.write({ root: null });
    try {
      await this.mapper.message(this.pool.number, 'reserve_metadata_snap');
    } catch (error) {
      // The kernel did not: what is held now, if anything is, is another's.
      if (error instanceof CommandError) await removeDurably(this.path);
      throw error;
    }
  }

  private async noteHeld(): Promise<Note> {
    const root = await this.heldRoot();
    if (root === null)
      throw new SnapshotError(this.pool.dmName, 'someone else gave back our metadata snapshot');
    await this.write({ root });
    return { root };
  }

  /** Someone who gives it back while it is read lets the kernel write over what is read. */
  private async checkHeld(note: Note): Promise<void> {
    const { heldRoot } = await this.checkInOrder();
    if (heldRoot !== note.root) throw this.givenBack();
  }

  /** Whether the one that we noted is surely not held any more. */
  private async isLost({ root }: Note): Promise<boolean> {
    return root !== null && (await this.heldRoot().catch(() => root)) !== root;
  }

  private givenBack(cause?: unknown): SnapshotError {
    const problem =
      'the metadata snapshot was given back by someone else while it was read: run lvmsync again';
    return new SnapshotError(this.pool.dmName, problem, { cause });
  }

  private async release(note: Note): Promise<void> {
    // Another's may be held by now, where someone gave ours back.
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
    return readHeldRoot(this.about.spawner, this.pool);
  }

  private checkInOrder(): Promise<ThinPoolStatus> {
    return readPoolStatus(this.about.spawner, this.pool);
  }

  private heldByOthers(root: number): LockedError {
    const { dmName } = this.pool;
    const holder = `a metadata snapshot (root block ${root}) that is not lvmsync's`;
    const wayOut =
      'another program reads it, or left it behind; once none does, ' +
      `"dmsetup message ${dmName} 0 release_metadata_snap" gives it back`;
    return new LockedError(`the thin pool ${dmName}`, holder, wayOut);
  }
}

/** Whether what is held is what a note tells of, as far as that knows. */
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
