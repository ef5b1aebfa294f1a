import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eachItem } from '../../src/stream/batches/batch.js';
import { SenderRun } from '../../src/session/sender.js';
import { openIncomingStream } from '../../src/stream/incoming-stream.js';
import { CHUNK } from '../support/change-source.js';
import { openInMemory } from '../support/open-target.js';
import {
  frozenSource,
  itemsOf,
  LastingTarget,
  newState,
  oldState,
  SCENE,
  type Scene,
  setUpTargets,
} from '../support/scenes/broken-sessions.js';
import { pool, sourceOf } from '../support/streams.js';

setUpTargets();

const scene: fc.Arbitrary<Scene> = fc.integer({ min: 8, max: 40 }).chain((chunks) =>
  fc.record({
    chunks: fc.constant(chunks),
    table: fc.uniqueArray(fc.nat(chunks - 1), { minLength: 1, maxLength: chunks }),
  }),
);
/** Blocks that a broken line may cost: what was under way behind the last answered checkpoint. */
const BLOCKS_LOST = 3;
/** What every session sends beside blocks: a header, the proofs of a sample, the end. Bytes. */
const OVERHEAD = 4000;

describe('a session that breaks', () => {
  it('again and again, at any byte, brings the new state, and does not send everything again', async () => {
    await fc.assert(
      fc.asyncProperty(scene, fc.array(fc.nat(20_000), { maxLength: 6 }), async (each, cuts) => {
        const target = new LastingTarget(oldState(each).bytes);
        const source = () => frozenSource(each);
        const whole = (await new LastingTarget(oldState(each).bytes).session(source())).sent;
        let sent = 0;
        for (const cutAfter of cuts) {
          const ending = await target.session(source(), { cutAfter });
          sent += ending.sent;
          if (ending.summary !== null) break;
          const { bytes } = await target.recovered();
          expect(bytes).toBeBytes(oldState(each).bytes);
        }
        const last = await target.session(source());
        expect(last.error).toBeNull();
        expect(target.device.bytes).toBeBytes(newState(each));
        const blockLimit = Math.max(...runsOf(each)) * CHUNK + 500;
        expect(sent + last.sent).toBeLessThanOrEqual(
          whole + OVERHEAD + cuts.length * (OVERHEAD + BLOCKS_LOST * blockLimit),
        );
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  it('at each frame continues after the last checkpoint', async () => {
    const source = () => frozenSource(SCENE);
    const whole = await new LastingTarget(oldState(SCENE).bytes).session(source());
    let resumed = 0;
    for (let cutAfter = 0; cutAfter < whole.sent; cutAfter += 1500) {
      const target = new LastingTarget(oldState(SCENE).bytes);
      const cut = await target.session(source(), { cutAfter });
      expect(cut.summary, `cut after ${cutAfter}`).toBeNull();
      const again = await target.session(source());
      expect(again.error).toBeNull();
      expect(target.device.bytes).toBeBytes(newState(SCENE));
      const { changedBytes = 0, resumedBytes = 0, blocks = 0 } = again.summary ?? {};
      expect(changedBytes).toBe(SCENE.table.length * CHUNK);
      if (resumedBytes === 0) continue;
      resumed += 1;
      const items = await itemsOf(again.frames);
      expect(items.filter((item) => /^(data|zero) /.test(item))).toHaveLength(blocks);
      expect(items.filter((item) => item === 'resume')).toHaveLength(1);
      expect(again.notices.join('\n')).toMatch(/taken back to its last checkpoint/);
      expect(again.notices.join('\n')).toMatch(
        /continuing at byte \d+: \d+ of 40960 bytes are there already/,
      );
    }
    expect(resumed).toBeGreaterThan(15);
  });

  it('is not continued on another device that has its path now, whatever that holds', async () => {
    const target = new LastingTarget(oldState(SCENE).bytes);
    expect((await target.session(frozenSource(SCENE), { cutAfter: 14_000 })).summary).toBeNull();
    const left = Buffer.from(target.device.bytes);
    expect(left).not.toBeBytes(oldState(SCENE).bytes);
    // As a kill leaves it: nothing says how the target was left, and the other device holds the same bytes.
    const note = `${target.folder}/apply.json`;
    const noted = JSON.parse(readFileSync(note, 'utf8')) as Record<string, unknown>;
    expect(noted).toMatchObject({ stamp: expect.stringMatching(/^file /) as string });
    writeFileSync(note, JSON.stringify({ ...noted, stamp: undefined, left: undefined }));
    writeFileSync(`${target.folder}/other`, '');
    renameSync(`${target.folder}/other`, `${target.folder}/stamp`);
    const { error } = await target.session(frozenSource(SCENE));
    expect(error).toMatchObject({
      code: 'BASE_MISMATCH',
      message: expect.stringMatching(/belongs to another device .*Nothing was taken back/s) as string,
    });
    expect(target.device.bytes).toBeBytes(left);
  });

  it('continues even if the receiver is killed during a write', async () => {
    await fc.assert(
      fc.asyncProperty(scene, fc.nat(40), fc.boolean(), async (each, writes, isTorn) => {
        const target = new LastingTarget(oldState(each).bytes);
        const seen: { killed: LastingTarget | null } = { killed: null };
        let count = 0;
        target.device.faults.beforeWrite = (offset) => {
          if (count++ !== writes) return;
          seen.killed = target.copy();
          // Of the write under way, one sector made it.
          const fresh = newState(each).subarray(offset, offset + 512);
          if (isTorn) seen.killed.device.bytes.set(fresh, offset);
        };
        await target.session(frozenSource(each));
        if (seen.killed === null) return;
        const { bytes } = await seen.killed.recovered();
        expect(bytes).toBeBytes(oldState(each).bytes);
        const again = await seen.killed.session(frozenSource(each));
        expect(again.error).toBeNull();
        expect(again.summary?.mismatches).toBe(0);
        expect(seen.killed.device.bytes).toBeBytes(newState(each));
        if (writes > 2) expect(again.summary?.resumedBytes).toBeGreaterThan(0);
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  it('leaves one snapback, with the very first old bytes', async () => {
    const target = new LastingTarget(oldState(SCENE).bytes);
    const policy = { snapback: `${target.folder}/way-back` };
    for (const cutAfter of [14_000, 14_000, 14_000]) {
      expect((await target.session(frozenSource(SCENE), { cutAfter, policy })).summary).toBeNull();
    }
    expect((await target.session(frozenSource(SCENE), { policy })).summary?.resumedBytes).toBeGreaterThan(0);
    expect(target.device.bytes).toBeBytes(newState(SCENE));
    const restored = newState(SCENE);
    const undo = await openIncomingStream(sourceOf(readFileSync(policy.snapback)), pool(), 'snapback');
    expect(undo.header).toMatchObject({ kind: 'undo', base: 'RESULT', result: 'BASE' });
    for await (const item of eachItem(undo.blocks)) {
      if (item.kind === 'data') item.data.bytes.copy(restored, item.offset);
    }
    expect(restored).toBeBytes(oldState(SCENE).bytes);
  });

  it('after everything was done sends nothing again, if only the report got lost', async () => {
    const run = new SenderRun();
    const target = new LastingTarget(oldState(SCENE).bytes);
    await target.session(frozenSource(SCENE), { run });
    const again = await target.session(frozenSource(SCENE), { run });
    expect(again.summary).toMatchObject({ blocks: 0, resumedBytes: 40_960, changedBytes: 40_960 });
    expect(again.notices.join()).toMatch(/only its report was lost/);
    expect(target.device.bytes).toBeBytes(newState(SCENE));
    const another = await target.session(frozenSource(SCENE));
    expect(another.summary?.resumedBytes).toBe(0);
    const written = await target.session(frozenSource(SCENE, { proof: null }), { run });
    expect(written.summary?.resumedBytes).toBe(0);
  });

  it('after everything was done the lost report still says that the rest is in doubt', async () => {
    const run = new SenderRun();
    const target = new LastingTarget(oldState(SCENE).bytes);
    target.device.bytes.fill('someone else', 3 * CHUNK, 4 * CHUNK);
    const suspect = expect.stringMatching(/someone wrote to it/) as string;
    expect((await target.session(frozenSource(SCENE), { run })).summary).toMatchObject({ suspect });
    const again = await target.session(frozenSource(SCENE), { run });
    expect(again.notices.join()).toMatch(/only its report was lost/);
    expect(again.summary).toMatchObject({ blocks: 0, suspect });
  });

  it('is compared in another run; in the same run it is enough that no one is seen to have written', async () => {
    const run = new SenderRun();
    const target = new LastingTarget(oldState(SCENE).bytes);
    await target.session(frozenSource(SCENE), { run, cutAfter: 20_000 });
    // Beneath it, so that its record does not tell.
    target.device.bytes.fill(0x77, CHUNK, 2 * CHUNK);
    const another = await target.copy().session(frozenSource(SCENE));
    expect(another.received.error).toMatchObject({ code: 'BASE_MISMATCH' });
    const same = await target.session(frozenSource(SCENE), { run });
    expect(same.summary?.resumedBytes).toBeGreaterThan(0);
  });

  it('continues with the first table if that has grown since', async () => {
    const target = new LastingTarget(oldState(SCENE).bytes);
    expect((await target.session(frozenSource(SCENE), { cutAfter: 20_000 })).summary).toBeNull();
    // What was written to the origin after the second snapshot is the same in both.
    const { volumes } = frozenSource(SCENE);
    const grown = { ...frozenSource({ ...SCENE, table: [...SCENE.table, 0, 29] }), volumes };
    const again = await target.session(grown);
    expect(again.summary?.resumedBytes).toBeGreaterThan(0);
    expect(target.device.bytes).toBeBytes(newState(SCENE));
  });
});

describe('what an earlier session brought is not continued', () => {
  async function halfWritten() {
    const target = new LastingTarget(oldState(SCENE).bytes);
    expect((await target.session(frozenSource(SCENE), { cutAfter: 20_000 })).summary).toBeNull();
    expect(target.device.bytes).not.toBeBytes(oldState(SCENE).bytes);
    return target;
  }

  it.each([
    ['where the data changed in between', { state: 3, proof: 'another', result: 'RESULT-3' }],
    ['where the data may have changed', { state: 3, proof: null }],
    ['where it is proved by something else', { state: 3, proof: 'another' }],
    ['where it led to another state', { result: 'RESULT-3', state: 3 }],
  ])('%s', async (_name, wish) => {
    const target = await halfWritten();
    const again = await target.session(frozenSource(SCENE, wish));
    expect(again.error).toBeNull();
    expect(again.summary?.resumedBytes).toBe(0);
    expect(await itemsOf(again.frames)).not.toContain('resume');
    expect(target.device.bytes).toBeBytes(newState(SCENE, wish.state));
    expect(again.notices.join('\n')).toMatch(/taken back to what it held before/);
  });

  it.each([
    ['with another snapback', { snapback: 'other' }],
    ['without a journal', { journal: false }],
  ])('%s', async (_name, policy) => {
    const target = await halfWritten();
    const how = 'snapback' in policy ? { snapback: `${target.folder}/${policy.snapback}` } : policy;
    const again = await target.session(frozenSource(SCENE), { policy: how });
    expect(again.summary?.resumedBytes).toBe(0);
    expect(target.device.bytes).toBeBytes(newState(SCENE));
  });

  it('if a recover had begun', async () => {
    const target = await halfWritten();
    const { record } = openInMemory(target.device, target.folder, target.folder);
    await record.write(null);
    oldState(SCENE).bytes.copy(target.device.bytes, CHUNK, CHUNK, 2 * CHUNK);
    const again = await target.session(frozenSource(SCENE));
    expect(again.summary?.resumedBytes).toBe(0);
    expect(target.device.bytes).toBeBytes(newState(SCENE));
  });

  it('if someone wrote to the target since: nothing is written then', async () => {
    const target = await halfWritten();
    target.overwrite(CHUNK, CHUNK);
    const before = Buffer.from(target.device.bytes);
    const again = await target.session(frozenSource(SCENE));
    expect(again.received.error).toMatchObject({ code: 'BASE_MISMATCH' });
    expect(target.device.bytes).toBeBytes(before);
  });
});

/** How many chunks lie beside each other, where any do. */
function runsOf({ table }: Scene): number[] {
  const sorted = [...table].sort((a, b) => a - b);
  const runs: number[] = [];
  for (const [index, chunk] of sorted.entries()) {
    if (index > 0 && sorted[index - 1] === chunk - 1) runs[runs.length - 1] = Number(runs.at(-1)) + 1;
    else runs.push(1);
  }
  return runs;
}

it('says within its run how far a session came', async () => {
  const run = new SenderRun();
  const target = new LastingTarget(oldState(SCENE).bytes);
  await target.session(frozenSource(SCENE), { run, cutAfter: 20_000 });
  expect(run.hasBegun).toBe(true);
  expect(run.checkpoints).toBeGreaterThan(0);
  expect(run.sentBytes).toBeGreaterThan(15_000);
});
