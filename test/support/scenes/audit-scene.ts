import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { ReadableVolume } from '../../../src/changes/base-view.js';
import { startLocalReceiver } from '../../../src/reach/local-far-side.js';
import type { SendOptions } from '../../../src/send/send-changes.js';
import { runSender, type SessionSummary } from '../../../src/session/sender.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../../src/targets/apply-policy.js';
import type { KnownState, TargetState } from '../../../src/targets/state-record.js';
import { altered, changesOf, CHUNK, type SourceParts, volumeOf } from '../change-source.js';
import { MemoryDevice } from '../memory-device.js';
import { openInMemory } from '../open-target.js';
import { quietSurroundings } from '../surroundings.js';

export const MIB = 1024 * 1024;

/** What is special about a run. */
export interface RunWish {
  readonly audit?: number;
  readonly source?: SourceParts;
  readonly policy?: Partial<ApplyPolicy>;
  readonly options?: Partial<SendOptions>;
}

export interface RunResult {
  readonly error: Error | null;
  readonly summary: SessionSummary | null;
  readonly said: string;
}

/** A volume with its states, and a target that they are sent to, both in memory. */
export class AuditScene {
  /** The volume as it is now, and as it was when its snapshot was made. */
  readonly now: MemoryDevice;
  readonly base: MemoryDevice;
  readonly target: MemoryDevice;
  /** The hour at which the next run begins. */
  hour = 0;
  private readonly folder: string;
  private changed = new Set<number>();
  private state = 0;
  private snapshot = 0;

  /** @param parent where the target's folder is made */
  constructor(
    private readonly parent: string,
    size: number,
  ) {
    const { bytes } = volumeOf(size / CHUNK, 1);
    this.now = new MemoryDevice(bytes, 'volume');
    this.base = new MemoryDevice(bytes, 'snapshot');
    this.target = new MemoryDevice(bytes, 'target');
    this.folder = openInMemory(this.target, parent).folder;
  }

  open() {
    return openInMemory(this.target, this.parent, this.folder);
  }

  /** Writes to the volume. */
  change(chunk: number): void {
    this.state += 1;
    this.now.bytes.fill(`state ${this.state} chunk ${chunk} `, chunk * CHUNK, (chunk + 1) * CHUNK);
    this.changed.add(chunk);
  }

  /** Makes another snapshot: the next changes start from what the volume is now. */
  takeSnapshot(): void {
    this.snapshot = this.state;
    this.changed = new Set();
    this.now.bytes.copy(this.base.bytes);
  }

  /** Someone else writes to the target: seen by its stamp, or past it. */
  overwrite(chunk: number, isSeen: boolean): void {
    this.target.bytes.fill('someone else', chunk * CHUNK, (chunk + 1) * CHUNK);
    if (isSeen) this.touch();
  }

  /** As a write does. */
  touch(): void {
    this.hour += 1;
    utimesSync(join(this.folder, 'stamp'), this.hour, this.hour);
  }

  /** The snapshot, of which a sample can be read and no more. */
  unauditable(): ReadableVolume {
    const { base } = this;
    const readAt = (bytes: Uint8Array, offset: number) =>
      bytes.length < MIB / 2 ? base.readAt(bytes, offset) : Promise.reject(new Error('it cannot be read'));
    return { path: base.path, size: base.size, readAt };
  }

  /** What one of the target's files says. */
  readNote(name: string): Record<string, unknown> {
    return JSON.parse(readFileSync(join(this.folder, name), 'utf8')) as Record<string, unknown>;
  }

  changeNote(name: string, change: (note: Record<string, unknown>) => object): void {
    writeFileSync(join(this.folder, name), JSON.stringify(change(this.readNote(name))));
  }

  hasNote(name: string): boolean {
    return existsSync(join(this.folder, name));
  }

  async record(state: TargetState): Promise<void> {
    await this.open().record.write(state);
  }

  async known(): Promise<KnownState> {
    return await this.open().record.read();
  }

  /** The target must hold what the source holds now. */
  expectEqual(): void {
    expect(this.target.bytes).toBeBytes(this.now.bytes);
  }

  get baseName(): string {
    return `S${this.snapshot}`;
  }

  get resultName(): string {
    return `S${this.state}`;
  }

  async run({ audit, source = {}, policy = {}, options = {} }: RunWish = {}): Promise<RunResult> {
    this.hour += 1;
    const hour = String(this.hour % 24).padStart(2, '0');
    const day = String(1 + Math.floor(this.hour / 24)).padStart(2, '0');
    const env = { ...quietSurroundings(), now: () => new Date(`2026-03-${day}T${hour}:00:00.000Z`) };
    const open = () => Promise.resolve(this.open());
    const { far, outcome } = startLocalReceiver(open, { ...DEFAULT_POLICY, ...policy }, env);
    const { baseName, resultName } = this;
    const usual = altered(changesOf(this.now, [[...this.changed]]), {
      facts: { base: baseName, result: resultName },
      volumes: { base: this.base },
      watch: { tableOf: ({ chunks: { count: entries } }) => ({ id: baseName, entries }) },
    });
    const from = altered(usual, source);
    const how = { proofs: true, ...(audit === undefined ? {} : { audit }), ...options };
    let summary: SessionSummary | null = null;
    let failure: Error | null = null;
    try {
      summary = await runSender(far, from, how, env);
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
    }
    const { error } = await outcome;
    return { error: error ?? failure, summary, said: env.notices.join('\n') };
  }
}
