import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProcessSpawner } from '../../../src/host/spawner.js';
import { findSnapshot } from '../../../src/snapshots/snapshot.js';
import { StateRecord, type KnownState } from '../../../src/targets/state-record.js';
import { targetKeyOf } from '../../../src/targets/target-key.js';
import { STATE_DIRS, type Place, type Ran, type StateDir } from '../../model/model.js';
import type { Fault } from '../../model/mortal-files.js';
import { chunkOf, nameOf, SIZE, SourceVolume, UNIT, unitBytes, type UnitWrite } from '../../model/volume.js';
import { runWords } from '../../support/run-program.js';
import { readDirectly, waitUntil } from './devices.js';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  lvmsyncCommand,
  removeVolumeGroup,
  run,
  seededBytes,
  tryToRun,
  writeBytes,
} from './lab.js';
import { killIfThere, start } from './random-moments.js';

export const GROUP = 'vg-model';
const SOURCE = `/dev/${GROUP}/source`;
const FOLDER = '/run/model';
/** How many snapshots of the source there are. */
export const SNAPSHOTS = 3;

/**
 * A volume with snapshots, a target, and all that programs leave: in the guest, where LVM and the kernel are real. What
 * programs are about is the beginning of the volume: a sample of all of it sees little of that.
 */
export class ModelLab implements Place {
  readonly target = `/dev/${GROUP}/target`;
  readonly undos = join(FOLDER, 'undos');
  /** In the guest a fault is a SIGKILL, of a process of its own. */
  fault: Fault | null = null;
  private moments = 0;
  private fileCount = 0;

  private constructor(
    readonly source: SourceVolume,
    /** The states of the snapshots, by the names that they have as states. */
    readonly names: ReadonlyMap<string, Buffer>,
  ) {}

  static async make(
    first: readonly UnitWrite[],
    later: readonly (readonly UnitWrite[])[],
  ): Promise<ModelLab> {
    await createVolumeGroup(GROUP, '/dev/ubda', '256k');
    for (const name of ['source', 'target']) {
      const path = await createVolume(GROUP, name, '4M');
      await writeBytes(path, SIZE, seededBytes('the rest', 4 * 1024 * 1024 - SIZE));
    }
    const source = new SourceVolume(first);
    await writeBytes(SOURCE, 0, source.state(0));
    const names = new Map<string, Buffer>();
    const spawner = new ProcessSpawner(process.env);
    for (let index = 0; index < SNAPSHOTS; index++) {
      const chunkSize = `${chunkOf(index).size / 1024}k`;
      await createSnapshot(GROUP, 'source', nameOf(index), { size: '2M', chunkSize, permission: 'r' });
      const { uuid } = await findSnapshot(spawner, `${GROUP}/${nameOf(index)}`);
      names.set(uuid ?? '', source.state(index));
      await writeUnits(SOURCE, later[index] ?? []);
      source.write(later[index] ?? []);
    }
    return new ModelLab(source, names);
  }

  async remove(): Promise<void> {
    await removeVolumeGroup(GROUP);
    rmSync(FOLDER, { recursive: true });
  }

  /** Nothing is known of the target, which holds this. */
  async begin(contents: Buffer): Promise<void> {
    this.fault = null;
    rmSync(FOLDER, { recursive: true, force: true });
    mkdirSync(this.undos, { recursive: true });
    await writeBytes(this.target, 0, contents);
  }

  async held(): Promise<Buffer> {
    return await readDirectly(this.target, 0, SIZE);
  }

  async writeSource(writes: readonly UnitWrite[]): Promise<void> {
    await writeUnits(SOURCE, writes);
    this.source.write(writes);
  }

  async disturb(writes: readonly UnitWrite[]): Promise<void> {
    await writeUnits(this.target, writes);
  }

  newPath(folder: string, kind: string): string {
    return join(folder, `${++this.fileCount}.${kind}`);
  }

  archives(): string[] {
    const names = readdirSync(this.undos).filter((name) => /^[^.].*\.undo$/.test(name));
    return names.sort().map((name) => join(this.undos, name));
  }

  async run(dir: StateDir, words: readonly string[], input?: Uint8Array): Promise<Ran> {
    const named = dir === 'usual' ? [] : ['--state-dir', join(FOLDER, dir)];
    const { fault } = this;
    this.fault = null;
    if (fault !== null) return await this.runToKill(dir, [...words, ...named], fault);
    const now = () => new Date(Date.UTC(2026, 0, 1) + 3_600_000 * ++this.moments);
    const env = { stateDir: join(FOLDER, 'usual'), now };
    const { status, said, stdout } = await runWords([...words, ...named], input, null, env);
    return { status, said: said.join('\n'), stdout, isFaulty: false };
  }

  async record(dir: StateDir): Promise<KnownState> {
    const { realPath: path, number } = await targetKeyOf(this.target);
    return await new StateRecord(await this.stateFolder(dir), { path, number }).read();
  }

  async hasJournal(dir: StateDir): Promise<boolean> {
    return existsSync(join(await this.stateFolder(dir), 'apply.json'));
  }

  async stateFolder(dir: StateDir): Promise<string> {
    return join(FOLDER, dir, 'targets', (await targetKeyOf(this.target)).key);
  }

  /** Whatever was recorded, it was in another boot. */
  async boot(): Promise<void> {
    const before = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    for (const dir of STATE_DIRS) {
      for (const name of ['state.json', 'apply.json']) {
        const file = join(await this.stateFolder(dir), name);
        if (!existsSync(file)) continue;
        writeFileSync(
          file,
          readFileSync(file, 'utf8').replaceAll(
            before,
            before.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
          ),
        );
      }
    }
  }

  /** The target gets a snapshot, is written to, and is merged back by LVM. */
  async merge(writes: readonly UnitWrite[]): Promise<void> {
    await createSnapshot(GROUP, 'target', 'before', { size: '1M' });
    await writeUnits(this.target, writes);
    await run(['lvconvert', '-qq', '--merge', `${GROUP}/before`]);
    await this.waitForMerge();
  }

  async waitForMerge(): Promise<void> {
    await waitUntil('the merge is over', async () => {
      const all = await run(['lvs', '-a', '--noheadings', '-o', 'lv_name,lv_attr', GROUP]);
      return !/^\s*\[?(before|target\S+)/m.test(all) && !/target\s+O/.test(all);
    });
  }

  /** Words for the real program, killed some time after it began to write. */
  private async runToKill(dir: StateDir, words: readonly string[], { step }: Fault): Promise<Ran> {
    const usual = dir === 'usual' ? ['--state-dir', join(FOLDER, dir)] : [];
    const running = start(lvmsyncCommand(...words, ...(words[0] === 'verify' ? [] : usual)));
    const hasBegun = async () => await this.hasJournal(dir);
    while (!running.isOver() && !(await hasBegun())) await sleep(5);
    await sleep(step);
    if (!running.isOver()) killIfThere(running.pid);
    const { status, stderr } = await running.finished;
    return { status, said: stderr, stdout: Buffer.alloc(0), isFaulty: status === null };
  }
}

async function writeUnits(device: string, writes: readonly UnitWrite[]): Promise<void> {
  for (const [unit, fill] of writes) await writeBytes(device, unit * UNIT, unitBytes(unit, fill));
}

/** Tells a device that nobody needs a unit any more: where it takes that, it holds zeroes then. */
export async function discardUnit(device: string, unit: number): Promise<void> {
  await tryToRun(['blkdiscard', '-o', `${unit * UNIT}`, '-l', `${UNIT}`, device]);
}
