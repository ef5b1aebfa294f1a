import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { eachItem } from '../../../src/stream/batches/batch.js';
import { recoverTarget, type RecoverOutcome } from '../../../src/apply/recover.js';
import { ChunkSet } from '../../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../../src/changes/change-set.js';
import type { ChangeSource } from '../../../src/changes/change-source.js';
import { LineError } from '../../../src/errors.js';
import { startLocalReceiver, type LocalFarSide } from '../../../src/reach/local-far-side.js';
import type { SendOptions } from '../../../src/send/send-changes.js';
import type { ReceiveOutcome } from '../../../src/session/receiver.js';
import { runSender, SenderRun, type SessionSummary } from '../../../src/session/sender.js';
import { openIncomingStream } from '../../../src/stream/incoming-stream.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../../src/targets/apply-policy.js';
import { altered, changesOf, CHUNK, trackingOf, volumeOf } from '../change-source.js';
import { MemoryDevice } from '../memory-device.js';
import { openInMemory } from '../open-target.js';
import { pool, sourceOf } from '../streams.js';
import { quietSurroundings } from '../surroundings.js';

let parent: string;

/** Makes the folder of all targets, and removes it when the file's tests are done: each file that has targets calls it. */
export function setUpTargets(): void {
  beforeAll(() => {
    // Journals are flushed for real: in memory that takes no time.
    parent = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-resume-'));
  });
  afterAll(() => {
    rmSync(parent, { recursive: true });
  });
}

/** Chunks of a volume in state 1 that state 2 changed, in the order in which the table names them. */
export interface Scene {
  readonly chunks: number;
  readonly table: readonly number[];
}

/** One with neighbours and stray chunks, out of order. */
export const SCENE: Scene = { chunks: 30, table: [3, 28, 4, 20, 9, 10, 11, 25, 1, 15] };

export const oldState = ({ chunks }: Scene) => volumeOf(chunks, 1);

/** State 2, as the target shall be at the end. */
export function newState({ chunks, table }: Scene, state = 2): Buffer {
  const bytes = Buffer.from(volumeOf(chunks, 1).bytes);
  const changed = volumeOf(chunks, state).bytes;
  for (const chunk of table) changed.copy(bytes, chunk * CHUNK, chunk * CHUNK, (chunk + 1) * CHUNK);
  return bytes;
}

/** What a source is, beyond the scene's own: other data, another proof of it. */
export interface SourceWish {
  readonly state?: number;
  readonly proof?: string | null;
  readonly result?: string;
  readonly base?: string;
}

/** A source of the scene whose data is proved to stay as it is. */
export function frozenSource(scene: Scene, wish: SourceWish = {}): ChangeSource {
  const data = new MemoryDevice(newState(scene, wish.state), '/dev/new');
  return altered(changesOf(data, []), {
    facts: { base: wish.base ?? 'BASE', result: wish.result ?? 'RESULT' },
    volumes: { base: oldState(scene) },
    watch: {
      dataProof: () => Promise.resolve(wish.proof === undefined ? 'read-only RESULT' : wish.proof),
      readChanges: (most = Infinity) => {
        const chunks = new ChunkSet();
        for (const chunk of scene.table.slice(0, most)) chunks.add(chunk);
        return Promise.resolve(new ChangeSet(trackingOf(CHUNK, data.size), chunks));
      },
    },
  });
}

/** What happens to a session on its way. */
export interface Trouble {
  /** The line breaks after so many bytes of the sender's. */
  readonly cutAfter?: number;
  /** What the receiver says goes through this first. */
  readonly tamper?: (replies: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
  readonly policy?: Partial<ApplyPolicy>;
  readonly run?: SenderRun;
  readonly options?: Partial<SendOptions>;
}

/** How a session ended. */
export interface Ending {
  readonly summary: SessionSummary | null;
  readonly error: unknown;
  readonly received: ReceiveOutcome;
  /** Bytes that left the sender, and what both sides told their users. */
  readonly sent: number;
  readonly frames: Buffer;
  readonly notices: readonly string[];
}

/** A target that outlives the sessions which write it. */
export class LastingTarget {
  readonly folder = mkdtempSync(join(parent, 'target-'));
  device: MemoryDevice;

  constructor(contents: Uint8Array) {
    this.device = new MemoryDevice(contents, '/dev/t');
  }

  /** One session from its start to its end. */
  async session(source: ChangeSource, trouble: Trouble = {}): Promise<Ending> {
    const env = { ...quietSurroundings(), clock: hastyClock() };
    const policy = { ...DEFAULT_POLICY, ...trouble.policy };
    const open = () => Promise.resolve(openInMemory(this.device, parent, this.folder));
    const { far, outcome } = startLocalReceiver(open, policy, env);
    const line = new BreakingLine(far, trouble);
    const options = { proofs: true, ...trouble.options };
    const { run = new SenderRun() } = trouble;
    const limits = { helloMs: 5000, farewellMs: 2000 };
    const [sending] = await Promise.allSettled([
      runSender({ ...line.far, run, limits }, source, options, env),
    ]);
    const received = await outcome;
    return {
      summary: sending.status === 'fulfilled' ? sending.value : null,
      error: sending.status === 'rejected' ? sending.reason : null,
      received,
      sent: line.sent,
      frames: Buffer.concat(line.pieces),
      notices: env.notices,
    };
  }

  /** What a recover would make of it now: done to a copy. */
  async recovered(): Promise<{ outcome: RecoverOutcome; bytes: Buffer }> {
    const copy = this.copy();
    const opened = openInMemory(copy.device, parent, copy.folder);
    const outcome = await recoverTarget(opened, quietSurroundings());
    return { outcome, bytes: copy.device.bytes };
  }

  /** As a crash would leave it at this moment. */
  copy(): LastingTarget {
    const copy = new LastingTarget(this.device.bytes);
    cpSync(this.folder, copy.folder, { recursive: true });
    const note = join(copy.folder, 'apply.json');
    if (existsSync(note)) {
      // It names a snapback by a whole path; and what stands for the device here is another file there.
      const text = readFileSync(note, 'utf8').replaceAll(this.folder, copy.folder);
      const said = JSON.parse(text) as Record<string, unknown>;
      delete said['device'];
      delete said['stamp'];
      writeFileSync(note, JSON.stringify(said));
    }
    return copy;
  }

  /** Someone else writes to it, which its record can tell. */
  overwrite(offset: number, length: number): void {
    this.device.bytes.fill(0x77, offset, offset + length);
    // a time that no clock is too coarse for
    utimesSync(join(this.folder, 'stamp'), 1, 1);
  }
}

/** Each look at it, five seconds and more have gone by: a checkpoint is due after each block. */
function hastyClock(): () => number {
  let now = 0;
  return () => (now += 6000);
}

/** A line that breaks, or lies. */
class BreakingLine {
  sent = 0;
  readonly pieces: Buffer[] = [];
  readonly far: LocalFarSide<ReceiveOutcome>['far'];

  constructor(far: LocalFarSide<ReceiveOutcome>['far'], { cutAfter = Infinity, tamper }: Trouble) {
    const { transport } = far;
    const take = (piece: Uint8Array) => {
      this.sent += piece.length;
      this.pieces.push(Buffer.from(piece));
    };
    const output = {
      write: async (piece: Uint8Array) => {
        const left = cutAfter - this.sent;
        if (piece.length <= left) {
          take(piece);
          await transport.output.write(piece);
          return;
        }
        const part = piece.subarray(0, Math.max(0, left));
        take(part);
        if (part.length > 0) await transport.output.write(part);
        await transport.destroy();
        throw new LineError('the line was cut');
      },
      end: () => transport.output.end(),
    };
    const input = tamper === undefined ? transport.input : tamper(transport.input);
    this.far = { ...far, transport: { ...transport, output, input } };
  }
}

/** The kinds of items in what a sender wrote, and where its blocks lie. */
export async function itemsOf(frames: Buffer): Promise<string[]> {
  const items: string[] = [];
  const incoming = await openIncomingStream(sourceOf(frames), pool(), 'frames');
  try {
    for await (const item of eachItem(incoming.blocks)) {
      if (item.kind === 'data') item.data.release();
      items.push('offset' in item && item.kind !== 'proof' ? `${item.kind} ${item.offset}` : item.kind);
    }
  } catch {
    items.push('cut');
  }
  return items;
}
