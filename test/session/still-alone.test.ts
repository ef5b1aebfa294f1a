import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recoverTarget } from '../../src/apply/recover.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { UnsafeTargetError } from '../../src/errors.js';
import type { Surroundings } from '../../src/host/surroundings.js';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { runSender } from '../../src/session/sender.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { altered, CHUNK, changesOf, volumeOf } from '../support/change-source.js';
import type { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

/* What becomes of a run that finds at its end that someone else came to use the target; how it finds that is shown in
 * test/targets/open-target.test.ts and test/kernel/still-alone.test.ts. */

const CHUNKS = 8;
const IN_USE =
  'something else used it during the run, so its contents are not known: it is open in process 7 (qemu)';

let parent: string;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-alone-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

const changes = () => altered(changesOf(volumeOf(CHUNKS, 2), [[3]]), { facts: { result: 'RESULT' } });
const copy = () =>
  altered(changesOf(volumeOf(CHUNKS, 2), [[0, 1, 2, 3, 4, 5, 6, 7]]), {
    facts: { base: null, result: 'RESULT', scope: 'full' },
    watch: { dataProof: () => Promise.resolve('read-only RESULT') },
  });

describe('a target that someone else came to use', () => {
  it('gets no success and no name, and its journal takes back what was written', async () => {
    const device = volumeOf(CHUNKS, 1);
    const { target, env, sent, record, again } = await send(device, changes());
    expect(sent).toMatchObject({ status: 'rejected', reason: { code: 'UNSAFE_TARGET' } });
    expect(record).toEqual({});
    const said =
      /half-written; "lvmsync recover .*" takes it back .*; what others wrote stays there: "lvmsync --scan"/;
    expect(env.notices.join('\n')).toMatch(said);
    expect(await recoverTarget(target, env)).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(volumeOf(CHUNKS, 1).bytes);
    // What was taken back is not all that was written.
    const believed = expect.stringMatching(/lvmsync cannot tell whether someone wrote to it since/) as string;
    expect((await target.record.read()).holds).toMatchObject({ identity: 'BASE', believed });
    expect((await again()).status).toBe('fulfilled');
  });

  it('keeps the way back if someone uses it during the recover, too', async () => {
    const device = volumeOf(CHUNKS, 1);
    const { target, env } = await send(device, changes());
    const inUse = {
      ...target,
      checkStillAlone: () => Promise.reject(new UnsafeTargetError('/dev/t', IN_USE)),
    };
    await expect(recoverTarget(inUse, env)).rejects.toThrow(IN_USE);
    expect(await recoverTarget(target, env)).toMatchObject({ kind: 'taken back' });
  });

  it('is not continued by its next run, but taken back to the start', async () => {
    const { env, again } = await send(volumeOf(CHUNKS, 1), changes());
    expect(await again()).toMatchObject({ status: 'fulfilled', value: { resumedBytes: 0 } });
    expect(env.notices.join('\n')).toContain('taken back to what it held before');
  });

  it('is half-copied after a full copy, which starts again', async () => {
    const { env, sent, record, again } = await send(volumeOf(CHUNKS, 1), copy());
    expect(sent).toMatchObject({ status: 'rejected', reason: { code: 'UNSAFE_TARGET' } });
    expect(record).toMatchObject({ is: 'copying', identity: 'RESULT' });
    expect(record).not.toHaveProperty('copied');
    expect(env.notices.join('\n')).toContain('half-copied: run the copy again');
    expect(await again()).toMatchObject({ status: 'fulfilled', value: { resumedBytes: 0 } });
  });

  it('keeps no place to continue from: what others wrote before it would stay there', async () => {
    const device = volumeOf(CHUNKS, 1);
    const checkpoints = { clock: hastyClock() };
    const foreign = () => device.writeAt(Buffer.alloc(CHUNK, 7), 0);
    const { sent, record, again } = await send(device, copy(), {}, checkpoints, foreign);
    expect(sent.status).toBe('rejected');
    expect(record).not.toHaveProperty('copied');
    expect(await again()).toMatchObject({ status: 'fulfilled', value: { resumedBytes: 0 } });
    expect(device.bytes).toBeBytes(volumeOf(CHUNKS, 2).bytes);
  });

  it('has no name after a run without a journal either', async () => {
    const { env, sent, record } = await send(volumeOf(CHUNKS, 1), changes(), { journal: false });
    expect(sent.status).toBe('rejected');
    expect(record).toEqual({});
    expect(env.notices.join('\n')).toContain('half-written, without a journal');
  });
});

/** Makes a sender ask for a checkpoint after each block. */
function hastyClock(): () => number {
  let now = 0;
  return () => (now += 6000);
}

/** Sends a source to a target that is found to be in use at its end. */
async function send(
  device: MemoryDevice,
  source: ChangeSource,
  policy: Partial<ApplyPolicy> = {},
  how: Partial<Surroundings> = {},
  use: () => Promise<void> = () => Promise.resolve(),
) {
  const target = openInMemory(device, parent);
  await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
  const env = { ...quietSurroundings(), ...how };
  const checkStillAlone = async () => {
    await use();
    throw new UnsafeTargetError('/dev/t', IN_USE);
  };
  const inUse = { ...target, checkStillAlone };
  const whole = { ...DEFAULT_POLICY, ...policy };
  const run = async (opened: OpenTarget) => {
    const open = () => Promise.resolve(opened);
    const { far, outcome } = startLocalReceiver(open, whole, env);
    const options = { proofs: true };
    const [sent] = await Promise.allSettled([runSender(far, source, options, env)]);
    await outcome;
    return sent;
  };
  const sent = await run(inUse);
  // Where nobody knows what it holds there is none.
  const path = join(target.folder, 'state.json');
  const record = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as object) : {};
  return { target, env, sent, record, again: () => run(target) };
}
