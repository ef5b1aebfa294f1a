import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { FarSideError, FormatError, UnsafeTargetError, UsageError } from '../../src/errors.js';
import { readNote } from '../../src/journal/apply-note.js';
import { startLocalFarSide, startLocalReceiver } from '../../src/reach/local-far-side.js';
import { askPlan } from '../../src/session/ask-plan.js';
import { refuseSession } from '../../src/session/receiver.js';
import { runSender } from '../../src/session/sender.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { altered, changesOf, CHUNK, volumeOf } from '../support/change-source.js';
import type { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import {
  frozenSource,
  LastingTarget,
  oldState,
  SCENE,
  setUpTargets,
} from '../support/scenes/broken-sessions.js';
import { quietSurroundings } from '../support/surroundings.js';

setUpTargets();

const CHUNKS = 200;
const CHANGED = [5, 100, 101];
const PROOFS = { proofs: true };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-ask-plan-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function source(): ChangeSource {
  const origin = volumeOf(CHUNKS, 1);
  for (const chunk of CHANGED) volumeOf(1, 2).bytes.copy(origin.bytes, chunk * CHUNK);
  const parts = { facts: { result: 'RESULT' }, volumes: { base: volumeOf(CHUNKS, 1) } };
  return altered(changesOf(origin, [CHANGED]), parts);
}

function targetOf(device: MemoryDevice): OpenTarget {
  return openInMemory(device, folder);
}

/** Asks what a transfer would do, and makes sure that nothing was done for it. */
async function ask(target: OpenTarget, policy = DEFAULT_POLICY, from = source()) {
  const device = target.device as unknown as MemoryDevice;
  const before = Buffer.from(device.bytes);
  const files = readdirSync(target.folder);
  const env = quietSurroundings();
  const { far, outcome } = startLocalReceiver(() => Promise.resolve(target), policy, env);
  const answer = await askPlan(far, from, PROOFS, env).then(
    (summary) => ({ summary, error: null }),
    (error: unknown) => ({ summary: null, error }),
  );
  const { error } = await outcome;
  expect(device.bytes).toBeBytes(before);
  expect(readdirSync(target.folder)).toEqual(files);
  return { ...answer, env, receiverError: error };
}

describe('a receiver that is asked what a transfer would do', () => {
  it('reports the steps, the states and the size, and writes nothing', async () => {
    const target = targetOf(volumeOf(CHUNKS, 1));
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    const { summary } = await ask(target);
    expect(summary).toMatchObject({ changedBytes: 3 * CHUNK, blocks: 0, targetSize: CHUNKS * CHUNK });
    expect(summary?.plan).toEqual({
      targetSize: CHUNKS * CHUNK,
      holds: { is: 'exactly', identity: 'BASE', from: null },
      steps: [{ do: 'write', bytes: 3 * CHUNK, keeps: 'journal' }],
      ...{ from: 'BASE', to: 'RESULT', refusals: [] },
    });
  });

  it('refuses another volume, by the sample that came with the question', async () => {
    const { summary } = await ask(targetOf(volumeOf(CHUNKS, 7)));
    expect(summary?.plan.refusals).toMatchObject([
      { code: 'BASE_MISMATCH', message: expect.stringContaining('another volume') as string },
    ]);
  });

  it('refuses a volume that someone wrote to outside the changes, by the closer look', async () => {
    const device = volumeOf(CHUNKS, 1);
    const target = targetOf(device);
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    device.bytes.fill('someone else', 50 * CHUNK, 51 * CHUNK);
    utimesSync(join(target.folder, 'stamp'), 1, 1);
    const { summary } = await ask(target);
    expect(summary?.plan.steps.map((step) => step.do)).toEqual(['look closer', 'write']);
    expect(summary?.plan.refusals).toMatchObject([{ code: 'BASE_MISMATCH' }]);
  });

  it('refuses a volume that is too small, and reads nothing of it', async () => {
    const { summary } = await ask(targetOf(volumeOf(CHUNKS - 1, 1)));
    expect(summary?.plan.refusals).toMatchObject([
      { code: 'UNSAFE_TARGET', message: expect.stringContaining('too small') as string },
    ]);
  });

  it('refuses the name of a snapback that is taken', async () => {
    const snapback = join(folder, 'taken.undo');
    writeFileSync(snapback, 'of somebody else');
    const { summary } = await ask(targetOf(volumeOf(CHUNKS, 1)), { ...DEFAULT_POLICY, snapback });
    expect(summary?.plan.refusals).toMatchObject([{ code: 'USAGE' }]);
  });

  it('leaves an earlier apply as it is, and reports that a run would deal with it', async () => {
    const lasting = new LastingTarget(oldState(SCENE).bytes);
    await lasting.session(frozenSource(SCENE), { cutAfter: 14_000 });
    expect(await readNote(lasting.folder)).not.toBeNull();

    const again = openInMemory(lasting.device, folder, lasting.folder);
    const { summary } = await ask(again, DEFAULT_POLICY, frozenSource(SCENE));
    expect(summary?.plan.steps[0]).toEqual({ do: 'settle' });
  });

  it('is not missed while the sender still reads its changes', async () => {
    const env = quietSurroundings();
    const { far } = startLocalReceiver(
      () => Promise.resolve(targetOf(volumeOf(CHUNKS, 1))),
      DEFAULT_POLICY,
      env,
    );
    const usual = source();
    const readChanges = async () => {
      // a silent line is given a second more
      await sleep(1500);
      return await usual.watch.readChanges();
    };
    const limits = { helloMs: 200, farewellMs: 1000 };
    const slow = altered(usual, { watch: { readChanges } });
    const asked = askPlan({ ...far, limits }, slow, PROOFS, env);
    await expect(asked).resolves.toMatchObject({ changedBytes: 3 * CHUNK });
  });

  it('that may not open its target says why, as for a transfer', async () => {
    const problem = new UnsafeTargetError('/dev/vg/vm', 'it is mounted on /srv');
    const env = quietSurroundings();
    const { far } = startLocalReceiver(() => Promise.reject(problem), DEFAULT_POLICY, env);
    await expect(askPlan(far, source(), PROOFS, env)).rejects.toMatchObject({
      code: 'UNSAFE_TARGET',
      message: expect.stringContaining('it is mounted on /srv') as string,
    });
  });
});

describe('a receiver that may only be asked', () => {
  it('answers a question, and refuses a transfer before the first write', async () => {
    const policy = { ...DEFAULT_POLICY, dryRun: true };
    const target = targetOf(volumeOf(CHUNKS, 1));
    const { summary } = await ask(target, policy);
    expect(summary?.plan.refusals).toEqual([]);

    const device = volumeOf(CHUNKS, 1);
    const env = quietSurroundings();
    const { far, outcome } = startLocalReceiver(() => Promise.resolve(targetOf(device)), policy, env);
    await expect(runSender(far, source(), PROOFS, env)).rejects.toMatchObject({ code: 'USAGE' });
    expect((await outcome).error).toBeInstanceOf(UsageError);
    expect(device.bytes).toBeBytes(volumeOf(CHUNKS, 1).bytes);
  });
});

describe('a receiver of an earlier version', () => {
  it('is reported as too old to be asked', async () => {
    const { far } = startLocalFarSide(async (line) => {
      for await (const piece of line.input) if (piece.length > 100) break;
      return await refuseSession(line, new FormatError('stream', 17, 'first frame', 'it is no header'));
    });
    const error: unknown = await askPlan(far, source(), PROOFS, quietSurroundings()).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(FarSideError);
    expect((error as Error).message).toMatch(/too old to say what it would do: install this version there/);
  });
});
