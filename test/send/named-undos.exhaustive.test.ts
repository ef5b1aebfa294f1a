import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { openArchive } from '../../src/archive/archive.js';
import { listArchives } from '../../src/chain/archive-folder.js';
import { planCombination } from '../../src/chain/combination.js';
import { undosOf } from '../../src/chain/states.js';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { sendChanges } from '../../src/send/send-changes.js';
import { runSender } from '../../src/session/sender.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import type { TargetState } from '../../src/targets/state-record.js';
import { changesOf, CHUNK } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { landOn } from '../support/scenes/archives.js';
import { collectingSink, pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 12;
const HOW = { proofs: true, dryRun: false };
/** Each run flushes files for real. */
const SLOW = 60_000;

let parent: string;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-named-undos-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

/** A state of a volume, chunk by chunk. */
type Contents = readonly number[];

function bytesOf(contents: Contents): Buffer {
  return Buffer.concat(contents.map((fill) => Buffer.alloc(CHUNK, fill)));
}

/** A volume that is written to and of which snapshots are made, a target, and a folder of the target's snapbacks. */
class Scene {
  readonly folder = mkdtempSync(join(parent, 'scene-'));
  readonly undos = join(this.folder, 'undos');
  readonly device: MemoryDevice;
  private readonly place: string;
  private origin: Contents = Array.from({ length: CHUNKS }, (_, index) => index + 1);
  /** What each snapshot froze, and the chunks that were written since. */
  private readonly snapshots: { readonly contents: Contents; readonly written: Set<number> }[] = [];

  constructor() {
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
    return {
      ...changesOf(volume, [[...base.written].sort((a, b) => a - b)]),
      ...{ base: `S${from}`, result: to === null ? null : `S${to}` },
      ...{ baseVolume: new MemoryDevice(bytesOf(base.contents), 'base'), isBaseReadOnly: true },
    };
  }

  /** A transfer with a snapback; the error that ended it, or null. */
  async send(from: number, to: number | null, name: string, isPipe = false): Promise<Error | null> {
    const policy = { ...DEFAULT_POLICY, snapback: join(this.undos, name) };
    const target = this.open();
    const about = quietSurroundings();
    if (isPipe) {
      const sink = collectingSink();
      await sendChanges(
        this.source(from, to),
        new FrameWriter(sink),
        { ...HOW, proofs: false },
        about,
        pool(),
      );
      const options = { what: 'pipe', target, policy, isSession: false };
      return await receiveStream(sourceOf(sink.bytes()), options, about, pool()).then(
        () => null,
        (error: unknown) => error as Error,
      );
    }
    const { far, outcome } = startLocalReceiver(() => Promise.resolve(target), policy, about, pool());
    await runSender(far, this.source(from, to), HOW, about, pool()).catch(() => null);
    return (await outcome).error;
  }

  /** The ways that the snapbacks in the folder say that they lead, each of which was tried. */
  async ways(): Promise<string[]> {
    const ways: string[] = [];
    for (const { archive, base, result } of undosOf(await listArchives(this.undos))) {
      const volume = this.contentsOf(base);
      await landOn(volume, planCombination([await openArchive(archive.path)]));
      expect({ [archive.name]: volume.equals(this.contentsOf(result)) }).toEqual({ [archive.name]: true });
      ways.push(`${base} -> ${result}`);
    }
    return ways.sort();
  }
}

/** A scene with a chunk written before each of the snapshots S1 and S2: chunk 1 twice, chunk 2 once. */
function twoStates(): Scene {
  const scene = new Scene();
  scene.write(1, 101);
  scene.write(2, 102);
  scene.snapshot();
  scene.write(1, 201);
  scene.snapshot();
  return scene;
}

const exactly = (identity: string, from: string | null = null) =>
  ({ is: 'exactly', identity, from }) as const;

describe('a snapback that a receiver makes', () => {
  it('of a second run from the same base leads to what the first one brought', async () => {
    const scene = twoStates();
    await scene.known(exactly('S0'));
    expect(await scene.send(0, 1, '1.undo')).toBeNull();
    expect(await scene.send(0, 2, '2.undo')).toBeNull();
    expect(await scene.ways()).toEqual(['S1 -> S0', 'S2 -> S1']);
  });

  it('names no state where nothing but the contents could tell it, and they do not', async () => {
    const scene = twoStates();
    await scene.known(exactly('S0'));
    expect(await scene.send(0, 1, '1.undo')).toBeNull();
    await scene.known(null);
    expect(await scene.send(0, 2, '2.undo')).toBeNull();
    expect(await scene.ways()).toEqual(['S1 -> S0']);
  });

  it('names no state where the contents hold the new bytes already', async () => {
    const scene = twoStates();
    expect(await scene.send(0, 2, '1.undo')).toBeNull();
    await scene.known(null);
    expect(await scene.send(0, 2, '2.undo')).toBeNull();
    expect(await scene.ways()).toEqual(['S2 -> S0']);
  });

  it('names the base where every block bears it out', async () => {
    const scene = twoStates();
    expect(await scene.send(0, 2, '1.undo')).toBeNull();
    expect(await scene.ways()).toEqual(['S2 -> S0']);
  });

  it('names no state where its blocks came without a proof, and nobody knows what was there', async () => {
    const scene = twoStates();
    expect(await scene.send(0, 2, '1.undo', true)).toBeNull();
    expect(await scene.ways()).toEqual([]);
  });

  it('goes by a record where blocks come without a proof', async () => {
    const scene = twoStates();
    await scene.known(exactly('S0'));
    expect(await scene.send(0, 2, '1.undo', true)).toBeNull();
    expect(await scene.ways()).toEqual(['S2 -> S0']);
  });

  it('names no state where the contents contradict the record', async () => {
    const scene = twoStates();
    await scene.known({ is: 'since', identity: 'S0', from: 'S0', table: { id: 'BASE', entries: 0 } });
    scene.device.bytes.fill(77, CHUNK, 2 * CHUNK);
    expect(await scene.send(0, 2, '1.undo')).toBeNull();
    expect(await scene.ways()).toEqual([]);
    const [listed] = await listArchives(scene.undos);
    expect(listed).toMatchObject({ problem: null, header: { base: 'S2', result: null } });
    const { base, result, header } = await openArchive(join(scene.undos, '1.undo'));
    expect({ base, result, header }).toMatchObject({ base: 'S2', result: null, header: { result: null } });
  });

  it('of a run that was done already leads nowhere, and is in nobody’s way', async () => {
    const scene = twoStates();
    await scene.known(exactly('S0'));
    expect(await scene.send(0, 1, '1.undo')).toBeNull();
    expect(await scene.send(0, 1, '2.undo')).toBeNull();
    expect(await scene.ways()).toEqual(['S1 -> S0']);
  });

  it('without a name is no way to claim one by applying it', async () => {
    const scene = twoStates();
    scene.device.bytes.fill(77, CHUNK, 2 * CHUNK);
    const before = Buffer.from(scene.device.bytes);
    expect(await scene.send(0, 2, '1.undo')).toBeNull();
    const bytes = readFileSync(join(scene.undos, '1.undo'));
    const policy = { ...DEFAULT_POLICY, snapback: join(scene.undos, '2.undo'), forceBase: true };
    const options = { what: 'undo', target: scene.open(), policy, isSession: false };
    await receiveStream(sourceOf(bytes), options, quietSurroundings(), pool());
    expect(scene.device.bytes.equals(before)).toBe(true);
    expect((await scene.open().record.read()).holds).toBeNull();
    expect(await scene.ways()).toEqual([]);
  });

  const step = fc.oneof(
    fc.record({ do: fc.constant('write' as const), chunk: fc.nat(CHUNKS - 1), fill: fc.nat(255) }),
    fc.record({ do: fc.constant('snapshot' as const) }),
    fc.record({ do: fc.constant('forget' as const) }),
    fc.record({ do: fc.constant('send' as const), from: fc.nat(9), to: fc.nat(9), isPipe: fc.boolean() }),
    fc.record({ do: fc.constant('send live' as const), from: fc.nat(9) }),
  );
  it(
    'leads to what its name stands for, whatever was sent in whatever order',
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
          const scene = new Scene();
          await scene.known(exactly('S0'));
          for (const [index, each] of steps.entries()) {
            const name = `${index}.undo`;
            if (each.do === 'write') scene.write(each.chunk, each.fill);
            else if (each.do === 'snapshot') scene.snapshot();
            else if (each.do === 'forget') await scene.known(null);
            else if (each.do === 'send live') await scene.send(each.from % scene.count, null, name);
            else {
              const [from, to] = [each.from % scene.count, each.to % scene.count].sort((a, b) => a - b);
              // Without a proof nothing tells a target of which nobody knows what it is.
              const isPipe = each.isPipe && (await scene.open().record.read()).holds?.is === 'exactly';
              if (from !== undefined && to !== undefined && from < to)
                await scene.send(from, to, name, isPipe);
            }
          }
          await scene.ways();
        }),
        { numRuns: 60 },
      );
    },
    SLOW,
  );
});
