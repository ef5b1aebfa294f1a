import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { findDifferingRuns } from '../../src/bytes/contents.js';
import { endOf } from '../../src/bytes/extent.js';
import { pipeTo, sendChanges } from '../../src/send/send-changes.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import { openInMemory } from '../support/open-target.js';
import { LastingTarget, setUpTargets } from '../support/scenes/broken-sessions.js';
import {
  bytesOf,
  countMismatches,
  scenes,
  sourceOf,
  UNIT,
  type DeltaScene,
  type Oddness,
} from '../support/scenes/delta-scenes.js';
import { collectingSink, pool, sourceOf as pieces } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

setUpTargets();

const options = { blockSize: UNIT };
const ODDNESS: readonly Oddness[] = ['as it should be', 'target odd', 'snapshot written', 'both'];

describe('what differs between two states', () => {
  it('is found in whole units, and neighbours are joined', () => {
    const state = fc.uint8Array({ minLength: 0, maxLength: 40, max: 1 });
    fc.assert(
      fc.property(state, state, fc.constantFrom(1, 2, 4, 8), (one, other, unit) => {
        const length = Math.min(one.length, other.length);
        const [old, now] = [Buffer.from(one.subarray(0, length)), Buffer.from(other.subarray(0, length))];
        const runs = findDifferingRuns(old, now, unit, 100);
        const inRun = (at: number) => runs.some((run) => run.offset - 100 <= at && at < endOf(run) - 100);
        for (let from = 0; from < length; from += unit) {
          const to = Math.min(from + unit, length);
          const differs = !old.subarray(from, to).equals(now.subarray(from, to));
          for (let at = from; at < to; at++) expect(inRun(at)).toBe(differs);
        }
        runs.slice(1).forEach((run, index) => {
          expect(run.offset).toBeGreaterThan(endOf(runs[index] ?? run));
        });
      }),
    );
  });
});

describe('a session that sends the parts that differ', () => {
  it.each(ODDNESS)('ends with the new state, and counts foreign blocks: %s', async (oddness) => {
    await fc.assert(
      fc.asyncProperty(scenes(oddness), fc.boolean(), fc.boolean(), async (scene, journal, isPlaced) => {
        const target = new LastingTarget(bytesOf(scene.target));
        // Without a proof of its data there are no checkpoints on the way, and all is wanted at the end.
        const unproved = { watch: { dataProof: () => Promise.resolve(null) } };
        const source = sourceOf(scene, isPlaced ? {} : unproved);
        const { summary, error } = await target.session(source, { options, policy: { journal } });
        expect(error).toBe(null);
        expect(target.device.bytes).toBeBytes(bytesOf(scene.now));
        expect(summary?.mismatches).toBe(countMismatches(scene));
        // What was neither is nobody's who can be named: the rest of the target is in doubt.
        expect(summary?.suspect !== null).toBe(countMismatches(scene) > 0);
      }),
      { numRuns: 40 },
    );
  });

  it.each(ODDNESS)('and can be undone by its snapback: %s', async (oddness) => {
    await fc.assert(
      fc.asyncProperty(scenes(oddness), async (scene) => {
        const target = new LastingTarget(bytesOf(scene.target));
        const snapback = `${target.folder}/undo`;
        const { error } = await target.session(sourceOf(scene), { options, policy: { snapback } });
        expect(error).toBe(null);
        // Nothing is recorded, and from a pipe an undo cannot be proved.
        await apply(readFileSync(snapback), target, { forceBase: true });
        expect(target.device.bytes).toBeBytes(bytesOf(scene.target));
      }),
      { numRuns: 25 },
    );
  });

  it.each(ODDNESS)('ends right however often it is cut and continued: %s', async (oddness) => {
    await fc.assert(
      fc.asyncProperty(scenes(oddness), fc.array(fc.nat(60_000), { maxLength: 4 }), async (scene, cuts) => {
        const target = new LastingTarget(bytesOf(scene.target));
        for (const cutAfter of cuts) {
          const { error, received } = await target.session(sourceOf(scene), { options, cutAfter });
          if (error === null) break;
          expect(received.error).not.toBe(null);
          const { bytes } = await target.recovered();
          expect(bytes).toBeBytes(bytesOf(scene.target));
        }
        const { error } = await target.session(sourceOf(scene), { options });
        expect(error).toBe(null);
        expect(target.device.bytes).toBeBytes(bytesOf(scene.now));
      }),
      { numRuns: 25 },
    );
  });

  it('ends right when cut at each frame', async () => {
    for (const scene of fc.sample(scenes('both'), { numRuns: 2, seed: 7 })) {
      const whole = await new LastingTarget(bytesOf(scene.target)).session(sourceOf(scene), { options });
      const cuts = frameEnds(whole.frames);
      expect(cuts.length).toBeGreaterThan(10);
      for (const cutAfter of cuts) {
        const target = new LastingTarget(bytesOf(scene.target));
        await target.session(sourceOf(scene), { options, cutAfter });
        const { error, summary } = await target.session(sourceOf(scene), { options });
        expect(error).toBe(null);
        expect(target.device.bytes).toBeBytes(bytesOf(scene.now));
        expect(summary?.changedBytes).toBe(whole.summary?.changedBytes);
      }
    }
  });

  it('sends less than whole chunks, and nothing that was rewritten as it was', async () => {
    const [scene] = fc.sample(scenes('as it should be'), { numRuns: 1, seed: 1 });
    if (scene === undefined) throw new Error('no scene');
    const target = new LastingTarget(bytesOf(scene.target));
    const { summary } = await target.session(sourceOf(scene), { options });
    const differing = scene.now.filter((value, unit) => value !== scene.base[unit]).length;
    expect(summary?.changedBytes).toBe(differing * UNIT);
    const rewritten: DeltaScene = { ...scene, now: scene.base };
    const again = new LastingTarget(bytesOf(scene.target));
    const nothing = await again.session(sourceOf(rewritten), { options });
    expect(nothing.summary).toMatchObject({ changedBytes: 0, blocks: 0, mismatches: 0 });
    expect(again.device.calls.filter((call) => call.startsWith('write'))).toEqual([]);
  });

  it('proves every piece even if the record says that the target holds the base, because the record may be wrong', async () => {
    await fc.assert(
      fc.asyncProperty(scenes('as it should be'), fc.nat(), async (scene, place) => {
        const target = new LastingTarget(bytesOf(scene.target));
        const { record } = openInMemory(target.device, target.folder, target.folder);
        await record.write({ is: 'exactly', identity: 'BASE', from: null });
        const known = await target.session(sourceOf(scene, { facts: { isBaseReadOnly: true } }), { options });
        expect(known.error).toBe(null);
        expect(target.device.bytes).toBeBytes(bytesOf(scene.now));
        const differing = scene.now.filter((value, unit) => value !== scene.base[unit]).length;
        expect(known.summary?.changedBytes).toBe(differing * UNIT);

        // Someone wrote into a changed chunk, past the stamp.
        const [first] = (await sourceOf(scene).watch.readChanges()).extents();
        if (first === undefined) return;
        for (const forceBase of [false, true]) {
          const odd = new LastingTarget(bytesOf(scene.target));
          const recorded = openInMemory(odd.device, odd.folder, odd.folder).record;
          await recorded.write({ is: 'exactly', identity: 'BASE', from: null });
          odd.device.bytes.fill(0x77, first.offset + (place % first.length), first.offset + first.length);
          const mended = await odd.session(sourceOf(scene, { facts: { isBaseReadOnly: true } }), {
            ...{ options, policy: { forceBase } },
          });
          expect(mended.error).toBe(null);
          expect(odd.device.bytes).toBeBytes(bytesOf(scene.now));
          const why = expect.stringMatching(/someone wrote to it/) as string;
          expect(mended.summary).toMatchObject({ mismatches: 1, suspect: forceBase ? null : why });
          const { holds } = await recorded.read();
          expect(holds).toMatchObject({ is: 'exactly', identity: 'RESULT', believed: why });
        }
      }),
      { numRuns: 20 },
    );
  });
});

describe('a live origin', () => {
  it.each(ODDNESS)('sends what is wanted whole together with what changed meanwhile: %s', async (oddness) => {
    await fc.assert(
      fc.asyncProperty(scenes(oddness), fc.nat(20), async (scene, early) => {
        const target = new LastingTarget(bytesOf(scene.target));
        const frozen = sourceOf(scene);
        let reads = 0;
        const live = sourceOf(scene, {
          facts: { live: true, result: null },
          watch: {
            dataProof: () => Promise.resolve(null),
            readChanges: () => frozen.watch.readChanges(reads++ === 0 ? early : Infinity),
          },
        });
        // The first table does not name all that differs, which the sample would find.
        const { error } = await target.session(live, { options, policy: { forceBase: true } });
        expect(error).toBe(null);
        expect(target.device.bytes).toBeBytes(bytesOf(scene.now));
      }),
      { numRuns: 40 },
    );
  });
});

describe('a pipe', () => {
  it.each(ODDNESS)('stops where parts are useless, and names the way out: %s', async (oddness) => {
    await fc.assert(
      fc.asyncProperty(scenes(oddness), async (scene) => {
        const target = new LastingTarget(bytesOf(scene.target));
        const outcome = await apply(await streamOf(scene, true), target).catch((error: unknown) => error);
        if (countMismatches(scene) === 0) {
          expect(outcome).toMatchObject({ mismatches: 0 });
          expect(target.device.bytes).toBeBytes(bytesOf(scene.now));
          return;
        }
        expect(outcome).toMatchObject({ code: 'BASE_MISMATCH' });
        const { bytes } = await target.recovered();
        expect(bytes).toBeBytes(bytesOf(scene.target));
      }),
      { numRuns: 40 },
    );
  });

  it('carries whole chunks and proves nothing with --whole-chunks', async () => {
    await fc.assert(
      fc.asyncProperty(scenes('both'), async (scene) => {
        const target = new LastingTarget(bytesOf(scene.target));
        await apply(await streamOf(scene, false), target);
        expect(target.device.bytes).toBeBytes(bytesOf(scene.now));
      }),
      { numRuns: 25 },
    );
  });
});

async function streamOf(scene: DeltaScene, proofs: boolean): Promise<Buffer> {
  const sink = collectingSink();
  const how = { ...options, proofs };
  const line = pipeTo(new FrameWriter(sink));
  await sendChanges(sourceOf(scene), line, how, { ...quietSurroundings(), lend: pool() });
  return sink.bytes();
}

async function apply(stream: Buffer, { device, folder }: LastingTarget, policy: Partial<ApplyPolicy> = {}) {
  const target = openInMemory(device, folder, folder);
  const how = { what: 'stream', target, policy: { ...DEFAULT_POLICY, ...policy }, isSession: false };
  return await receiveStream(pieces(stream), how, quietSurroundings(), pool());
}

/** Where frames end, counted from the stream's start; the line counts as one. */
function frameEnds(stream: Buffer): number[] {
  const ends = [17];
  for (let at = 17; at < stream.length;) {
    at += 14 + stream.readUInt32BE(at) + 4;
    ends.push(at);
  }
  return ends.slice(0, -1);
}
