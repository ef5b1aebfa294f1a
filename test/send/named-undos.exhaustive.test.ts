import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { openArchive } from '../../src/archive/archive.js';
import { listArchives } from '../../src/chain/archive-folder.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { CHUNK } from '../support/change-source.js';
import { CHUNKS, NamedUndosScene } from '../support/scenes/named-undos-scene.js';
import { pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

/** Each run flushes files for real. */
const SLOW = 60_000;

let parent: string;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-named-undos-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

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
    expect(scene.device.bytes).toBeBytes(before);
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
      let led = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
          const scene = new NamedUndosScene(parent);
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
          led += (await scene.ways()).length;
        }),
        { numRuns: 60 },
      );
      expect(led).toBeGreaterThan(0);
    },
    SLOW,
  );
});

/** A scene with a chunk written before each of the snapshots S1 and S2: chunk 1 twice, chunk 2 once. */
function twoStates(): NamedUndosScene {
  const scene = new NamedUndosScene(parent);
  scene.write(1, 101);
  scene.write(2, 102);
  scene.snapshot();
  scene.write(1, 201);
  scene.snapshot();
  return scene;
}
