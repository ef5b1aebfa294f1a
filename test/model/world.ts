import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { closeSync, openSync, statSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { InterruptedError, LvmsyncError } from '../../src/errors.js';
import { exitCodeOf } from '../../src/cli/exit-code.js';
import { checkSuspect } from '../../src/cli/reports/summary.js';
import { sendToLocalTarget } from '../../src/jobs/send-locally.js';
import type { SendOptions } from '../../src/send/send-changes.js';
import type { ApplyPolicy } from '../../src/targets/apply-policy.js';
import { punchHole } from '../../src/host/system-calls.js';
import { StateRecord, type KnownState } from '../../src/targets/state-record.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { runWords } from '../support/run-program.js';
import { quietSurroundings } from '../support/surroundings.js';
import { farHosts } from './far-host.js';
import type { Place, Ran, StateDir } from './model.js';
import { mortality, type Fault } from './mortal-files.js';

/** Both sides as they really are: files in a folder, and this program. */
export class World implements Place {
  readonly folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-model-'));
  readonly target = this.at('target');
  readonly undos = this.at('undos');
  /** How the faults go that the next run meets. */
  fault: Fault | null = null;
  private moments = 0;
  private fileCount = 0;

  constructor(contents: Uint8Array) {
    mkdirSync(this.undos);
    writeFileSync(this.target, contents);
    writeFileSync(this.at('spare'), contents);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  at(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  /** A file's path that nothing has yet. */
  newPath(folder: string, kind: string): string {
    return join(folder, `${++this.fileCount}.${kind}`);
  }

  held(): Buffer {
    return readFileSync(this.target);
  }

  /** Someone else writes to the target, which a file's times tell as long as nobody sets them back. */
  disturb(change: (fd: number) => void): void {
    const fd = openSync(this.target, 'r+');
    change(fd);
    closeSync(fd);
    this.move();
  }

  write(bytes: Uint8Array, offset: number): void {
    this.disturb((fd) => writeSync(fd, bytes, 0, bytes.length, offset));
  }

  /** Someone makes a hole. */
  async punch(offset: number, length: number): Promise<void> {
    const fd = openSync(this.target, 'r+');
    await punchHole(fd, offset, length);
    closeSync(fd);
    this.move();
  }

  /** Another file comes to have the target's name. */
  replace(contents: Uint8Array): void {
    writeFileSync(this.at('new'), contents);
    renameSync(this.at('new'), this.target);
    this.move();
  }

  /** The target and another file change their names. */
  swap(): void {
    for (const [from, to] of [
      ['target', 'kept'],
      ['spare', 'target'],
      ['kept', 'spare'],
    ] as const)
      renameSync(this.at(from), this.at(to));
  }

  /** A kernel's clock may be too coarse to tell two writes apart: the model's is not. */
  private move(): void {
    const { mtimeMs } = statSync(this.target);
    const later = Math.max(mtimeMs / 1000 + 1, 2_000_000_000 + ++this.moments);
    utimesSync(this.target, later, later);
  }

  /** A file that holds a volume's state, the same one each time. */
  stateFile(name: string, contents: Uint8Array): string {
    const path = this.at(`${name}.volume`);
    if (!existsSync(path)) writeFileSync(path, contents);
    return path;
  }

  async run(dir: StateDir, words: readonly string[], input?: Uint8Array): Promise<Ran> {
    const named = dir === 'usual' ? [] : ['--state-dir', this.at(dir)];
    return await this.mortal(async (signal) => {
      const env = { signal, stateDir: this.at('usual'), now: this.now, clock: this.clock() };
      const { status, said, stdout } = await runWords([...words, ...named], input, null, env);
      return { status, said, stdout };
    });
  }

  /** A transfer to the target from a source that no words name. */
  async send(
    dir: StateDir,
    source: ChangeSource,
    policy: ApplyPolicy,
    how: SendOptions,
    isHasty: boolean,
  ): Promise<Ran> {
    return await this.mortal(async (signal) => {
      const env = { ...quietSurroundings(), signal, now: this.now, clock: this.clock(isHasty) };
      const placed = { ...policy, stateDir: this.at(dir) };
      const error = await sendToLocalTarget(source, { path: this.target, policy: placed }, how, env)
        .then((summary) => {
          checkSuspect(summary, this.target);
          return null;
        })
        .catch((thrown: unknown) => {
          if (!(thrown instanceof LvmsyncError)) throw thrown;
          return thrown;
        });
      const said = [...env.notices, ...(error === null ? [] : [error.message])];
      return { status: error === null ? 0 : exitCodeOf(error), said, stdout: Buffer.alloc(0) };
    });
  }

  /** The same, begun by the receiver. */
  async pull(
    dir: StateDir,
    source: ChangeSource,
    { snapback, journal, forceBase }: ApplyPolicy,
    { blockSize, audit }: SendOptions,
    isHasty: boolean,
    cutAfter: number | null,
  ): Promise<Ran> {
    farHosts.prepare({ source, clock: this.clock(isHasty), cutAfter });
    const ran = await this.run(dir, [
      ...['pull', '--retry', '0', `far:${source.facts.name}`, this.target],
      ...(snapback === null ? [] : ['-b', snapback]),
      ...(journal ? [] : ['--no-journal']),
      ...(forceBase ? ['--force', 'base'] : []),
      ...(blockSize === undefined ? [] : ['--block-size', `${blockSize}`]),
      ...(audit == null ? [] : ['--audit', `${audit}`]),
    ]);
    return { ...ran, isFaulty: ran.isFaulty || farHosts.isCut };
  }

  async record(dir: StateDir): Promise<KnownState> {
    return await new StateRecord(await this.stateFolder(dir), { path: this.target, number: null }).read();
  }

  async isSuspect(dir: StateDir): Promise<boolean> {
    return existsSync(join(await this.stateFolder(dir), 'suspicion.json'));
  }

  async hasJournal(dir: StateDir): Promise<boolean> {
    return existsSync(join(await this.stateFolder(dir), 'apply.json'));
  }

  /** The files in the folder of undos that are whole. */
  archives(): string[] {
    const names = readdirSync(this.undos).filter((name) => /^[^.].*\.undo$/.test(name));
    return names.sort().map((name) => join(this.undos, name));
  }

  async stateFolder(dir: StateDir): Promise<string> {
    const { key } = await targetKeyOf(this.target);
    return this.at(dir, 'targets', key);
  }

  /** An hour goes by between any two looks at it. */
  private readonly now = () => new Date(Date.UTC(2026, 0, 1) + 3_600_000 * ++this.moments);

  /** One that is hasty makes a sender ask for a checkpoint after each block. */
  private clock(isHasty = false): () => number {
    let moment = 0;
    return () => (moment += isHasty ? 6000 : 1);
  }

  private async mortal(
    work: (
      signal: AbortSignal,
    ) => Promise<{ readonly status: number; readonly said: readonly string[]; readonly stdout: Buffer }>,
  ): Promise<Ran> {
    const stop = new AbortController();
    const { fault } = this;
    this.fault = null;
    mortality.begin(fault, () => {
      stop.abort(new InterruptedError('SIGTERM'));
    });
    try {
      const { status, said, stdout } = await work(stop.signal);
      const isFaulty = mortality.end();
      const isKilled = isFaulty && (fault?.kind === 'kill' || fault?.kind === 'tear');
      const isFull = isFaulty && fault?.kind === 'full';
      return { status: isKilled ? null : status, said: said.join('\n'), stdout, isFaulty, isFull };
    } finally {
      mortality.end();
    }
  }
}
