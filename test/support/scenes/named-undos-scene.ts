import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { receiveStream } from '../../../src/apply/receive-stream.js';
import { openArchive } from '../../../src/archive/archive.js';
import { listArchives } from '../../../src/chain/archive-folder.js';
import { planCombination } from '../../../src/chain/combination.js';
import { undosOf } from '../../../src/chain/states.js';
import { startLocalReceiver } from '../../../src/reach/local-far-side.js';
import { pipeTo, sendChanges } from '../../../src/send/send-changes.js';
import { runSender } from '../../../src/session/sender.js';
import { FrameWriter } from '../../../src/stream/frame-writer.js';
import { DEFAULT_POLICY } from '../../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../../src/targets/open-target.js';
import type { TargetState } from '../../../src/targets/state-record.js';
import { altered, changesOf, CHUNK } from '../change-source.js';
import { MemoryDevice } from '../memory-device.js';
import { openInMemory } from '../open-target.js';
import { collectingSink, pool, sourceOf } from '../streams.js';
import { quietSurroundings } from '../surroundings.js';
import { landOn } from './archives.js';

export const CHUNKS = 12;
const HOW = { proofs: true, dryRun: false };

/** A state of a volume, chunk by chunk. */
type Contents = readonly number[];

function bytesOf(contents: Contents): Buffer {
  return Buffer.concat(contents.map((fill) => Buffer.alloc(CHUNK, fill)));
}

/** A volume that is written to and of which snapshots are made, a target, and a folder of the target's snapbacks. */
export class NamedUndosScene {
  readonly undos: string;
  private readonly folder: string;
  readonly device: MemoryDevice;
  private readonly place: string;
  private origin: Contents = Array.from({ length: CHUNKS }, (_, index) => index + 1);
  /** What each snapshot froze, and the chunks that were written since. */
  private readonly snapshots: { readonly contents: Contents; readonly written: Set<number> }[] = [];

  /** @param parent where its folder is made */
  constructor(parent: string) {
    this.folder = mkdtempSync(join(parent, 'scene-'));
    this.undos = join(this.folder, 'undos');
    mkdirSync(this.undos);
    this.device = new MemoryDevice(bytesOf(this.origin), '/dev/target');
    this.place = this.open().folder;
    this.snapshot();
  }

  open(): OpenTarget {
    return openInMemory(this.device, this.folder, this.place);
  }

  get count(): number {
    return this.snapshots.length;
  }

  contentsOf(name: string): Buffer {
    const found = this.snapshots[Number(name.slice(1))];
    if (found === undefined) throw new Error(`no state ${name}`);
    return bytesOf(found.contents);
  }

  write(chunk: number, fill: number): void {
    this.origin = this.origin.with(chunk, fill);
    for (const { written } of this.snapshots) written.add(chunk);
  }

  snapshot(): string {
    this.snapshots.push({ contents: this.origin, written: new Set() });
    return `S${this.snapshots.length - 1}`;
  }

  async known(state: TargetState | null): Promise<void> {
    await this.open().record.write(state);
  }

  private source(from: number, to: number | null) {
    const base = this.snapshots[from];
    const data = to === null ? this.origin : this.snapshots[to]?.contents;
    if (base === undefined || data === undefined) throw new Error('no such snapshot');
    const volume = new MemoryDevice(bytesOf(data), 'data source');
    return altered(changesOf(volume, [[...base.written].sort((a, b) => a - b)]), {
      facts: { base: `S${from}`, result: to === null ? null : `S${to}`, isBaseReadOnly: true },
      volumes: { base: new MemoryDevice(bytesOf(base.contents), 'base') },
    });
  }

  /** A transfer with a snapback; the error that ended it, or null. */
  async send(from: number, to: number | null, name: string, isPipe = false): Promise<Error | null> {
    const policy = { ...DEFAULT_POLICY, snapback: join(this.undos, name) };
    const target = this.open();
    const env = quietSurroundings();
    if (isPipe) {
      const sink = collectingSink();
      const line = pipeTo(new FrameWriter(sink));
      await sendChanges(this.source(from, to), line, { proofs: false }, { ...env, lend: pool() });
      const options = { what: 'pipe', target, policy, isSession: false };
      return await receiveStream(sourceOf(sink.bytes()), options, env, pool()).then(
        () => null,
        (error: unknown) => error as Error,
      );
    }
    const { far, outcome } = startLocalReceiver(() => Promise.resolve(target), policy, env);
    await runSender(far, this.source(from, to), HOW, env).catch(() => null);
    return (await outcome).error;
  }

  /** The ways that the snapbacks in the folder say that they lead, each of which was tried. */
  async ways(): Promise<string[]> {
    const ways: string[] = [];
    for (const { archive, base, result } of undosOf(await listArchives(this.undos))) {
      const volume = this.contentsOf(base);
      await landOn(volume, planCombination([await openArchive(archive.path)]));
      expect(volume, archive.name).toBeBytes(this.contentsOf(result));
      ways.push(`${base} -> ${result}`);
    }
    return ways.sort();
  }
}
