import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { altered, changesOf, CHUNK, trackingOf, volumeOf } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';
import {
  frozenSource,
  LastingTarget,
  newState,
  oldState,
  type Scene,
  setUpTargets,
} from '../support/scenes/broken-sessions.js';

setUpTargets();

const CHUNKS = 40;
const SCENE: Scene = { chunks: CHUNKS, table: Array.from({ length: CHUNKS }, (_, chunk) => chunk) };
/** Chunks without bytes of their own, so that there are many blocks between them, and one that is zero all the same. */
const UNMAPPED = [0, 3, 6, 9, 10, 11, 14, 17, 22, 26, 30, 33, 36];
const ZERO = 20;

function volume(): MemoryDevice {
  const bytes = newState(SCENE);
  for (const chunk of [...UNMAPPED, ZERO]) bytes.fill(0, chunk * CHUNK, (chunk + 1) * CHUNK);
  return new MemoryDevice(bytes, '/dev/whole');
}

/** All of a volume, chunk by chunk. */
function whole(scope: 'full' | 'compared' = 'full', proof: string | null = 'read-only RESULT'): ChangeSource {
  const data = volume();
  const all = new ChunkSet();
  const unmapped = new ChunkSet();
  all.addRange(0, CHUNKS);
  for (const chunk of UNMAPPED) unmapped.add(chunk);
  const changes = new ChangeSet(trackingOf(CHUNK, data.size), all, unmapped);
  return altered(changesOf(data, []), {
    facts: { base: null, result: 'RESULT', scope },
    watch: { dataProof: () => Promise.resolve(proof), readChanges: () => Promise.resolve(changes) },
  });
}

/** A target whose copy was cut after so many bytes. */
async function cutCopy(cutAfter: number): Promise<LastingTarget> {
  const target = new LastingTarget(oldState(SCENE).bytes);
  const cut = await target.session(whole(), { cutAfter });
  expect(cut.summary).toBeNull();
  return target;
}

function recordOf(target: LastingTarget): object {
  return JSON.parse(readFileSync(join(target.folder, 'state.json'), 'utf8')) as object;
}

const HALF = 12 * CHUNK;

describe('a full copy', () => {
  it('overwrites whatever is there, saves nothing, and records what the target then holds', async () => {
    const target = new LastingTarget(oldState(SCENE).bytes);
    const { summary, frames } = await target.session(whole());
    expect(summary).toMatchObject({ changedBytes: CHUNKS * CHUNK, tableBytes: CHUNKS * CHUNK });
    expect(frames.length).toBeLessThan((CHUNKS - UNMAPPED.length + 1) * CHUNK);
    expect(target.device.bytes).toBeBytes(volume().bytes);
    expect(target.device.calls.filter((call) => call.startsWith('discard'))).toHaveLength(11);
    // No more than whether it is an image of virtual machines.
    expect(target.device.calls.filter((call) => call.startsWith('read'))).toEqual(['read 0+512']);
    expect(recordOf(target)).toMatchObject({ is: 'exactly', identity: 'RESULT', from: null });
  });

  it('that was cut continues after its last checkpoint, wherever that was', async () => {
    const { sent } = await new LastingTarget(oldState(SCENE).bytes).session(whole());
    let resumed = 0;
    for (let cutAfter = 1000; cutAfter < sent; cutAfter += 9000) {
      const target = await cutCopy(cutAfter);
      const again = await target.session(whole());
      expect(again.error).toBeNull();
      expect(target.device.bytes).toBeBytes(volume().bytes);
      expect(again.summary?.changedBytes).toBe(CHUNKS * CHUNK);
      expect(recordOf(target)).toMatchObject({ is: 'exactly', identity: 'RESULT' });
      if ((again.summary?.resumedBytes ?? 0) > 0) resumed += 1;
    }
    expect(resumed).toBeGreaterThan(5);
  });

  it.each([
    [
      'someone wrote to the target since',
      (target: LastingTarget) => {
        target.overwrite(0, 512);
      },
      whole(),
    ],
    ['nothing proves that the source is the same', () => undefined, whole('full', null)],
    ['the source is another one', () => undefined, whole('full', 'read-only OTHER')],
  ])('that was cut starts again if %s', async (_what, meanwhile, source) => {
    const target = await cutCopy(18 * CHUNK);
    meanwhile(target);
    const again = await target.session(source);
    expect([again.error, again.summary?.resumedBytes]).toEqual([null, 0]);
    expect(target.device.bytes).toBeBytes(volume().bytes);
  });

  it('that was cut leaves a target that refuses changes unless forced', async () => {
    const target = await cutCopy(HALF);
    const before = Buffer.from(target.device.bytes);
    const changes = altered(frozenSource({ ...SCENE, table: [3] }), { volumes: { base: null } });
    for (const base of ['RESULT', 'BASE', null]) {
      const { error } = await target.session(altered(changes, { facts: { base } }));
      expect(error).toMatchObject({
        code: 'BASE_MISMATCH',
        message: expect.stringContaining('part of an interrupted copy') as string,
      });
    }
    expect(target.device.bytes).toBeBytes(before);
    expect((await target.recovered()).outcome).toEqual({ kind: 'half copied' });
    const forced = await target.session(changes, { policy: { forceBase: true } });
    expect(forced.error).toBeNull();
  });

  it('that was cut is made whole by a comparison, and is half-copied again if that is taken back', async () => {
    const half = await cutCopy(HALF);
    const seen: { killed: LastingTarget | null } = { killed: null };
    let writes = 0;
    half.device.faults.beforeWrite = () => {
      if (writes++ === 4) seen.killed = half.copy();
    };
    await half.session(whole('compared'));
    const target = seen.killed ?? half;
    const { outcome, bytes } = await target.recovered();
    expect(outcome.kind).toBe('taken back');
    expect(bytes).not.toBeBytes(volume().bytes);
    const changes = altered(frozenSource({ ...SCENE, table: [3] }), { volumes: { base: null } });
    const refused = await target.session(changes);
    expect(refused.error).toMatchObject({ code: 'BASE_MISMATCH' });
    const scanned = await target.session(whole('compared'));
    expect(scanned.error).toBeNull();
    expect(target.device.bytes).toBeBytes(volume().bytes);
    expect(recordOf(target)).toMatchObject({ is: 'exactly', identity: 'RESULT' });
  });

  it('that was refused before its first block leaves the target known as it was', async () => {
    const target = new LastingTarget(oldState(SCENE).bytes);
    await target.session(whole());
    const before = recordOf(target);
    await target.session(whole(), { cutAfter: 700 });
    expect(recordOf(target)).toEqual(before);
  });
});

describe('a stream of nothing', () => {
  it('leaves what is known about its target unchanged', async () => {
    const target = new LastingTarget(oldState(SCENE).bytes);
    await target.session(whole());
    const before = recordOf(target);
    const { size } = volumeOf(CHUNKS, 1);
    const none = new ChangeSet(trackingOf(CHUNK, size), new ChunkSet());
    const nothing = altered(whole('compared'), {
      facts: { result: null },
      watch: { readChanges: () => Promise.resolve(none) },
    });
    expect((await target.session(nothing)).error).toBeNull();
    expect(recordOf(target)).toEqual(before);
  });
});
