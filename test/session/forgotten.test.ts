import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { runSender } from '../../src/session/sender.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import type { TargetState } from '../../src/targets/state-record.js';
import { altered, changesOf, type SourceParts, volumeOf } from '../support/change-source.js';
import { openInMemory } from '../support/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 8;
const TABLE = { id: 'BASE', entries: 1 };
const NAMED = { facts: { result: 'RESULT' } };
const RESULT = { is: 'exactly', identity: 'RESULT', from: 'BASE', table: TABLE } as const;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-forgotten-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Sends a change to a target that is recorded to hold a state; what was said, and what is recorded then. */
async function send(before: TargetState, parts: SourceParts, policy: Partial<ApplyPolicy> = {}) {
  const target = openInMemory(volumeOf(CHUNKS, 1), folder);
  await target.record.write(before);
  const env = quietSurroundings();
  const open = () => Promise.resolve(target);
  const { far, outcome } = startLocalReceiver(open, { ...DEFAULT_POLICY, ...policy }, env);
  const from = altered(altered(changesOf(volumeOf(CHUNKS, 2), [[3]]), NAMED), parts);
  await runSender(far, from, { proofs: true }, env).catch(() => undefined);
  const { error } = await outcome;
  if (error !== null) throw error;
  return { said: env.notices.join('\n'), holds: (await target.record.read()).holds };
}

describe('what was new since the base and was discarded again', () => {
  /** As of a thin pool: no table that only grows. */
  const thin = { facts: { forgetsDiscarded: true }, watch: { tableOf: () => null } };

  it.each<TargetState>([
    { is: 'exactly', identity: 'BETWEEN', from: 'BASE' },
    { is: 'since', identity: 'BASE', from: 'BASE' },
    { is: 'exactly', identity: 'BETWEEN', from: 'BASE', believed: 'nothing was known' },
  ])('would be left on a target that holds $is $identity, which is refused', async (before) => {
    await expect(send(before, thin)).rejects.toMatchObject({
      code: 'BASE_MISMATCH',
      message: expect.stringMatching(/other changes from BASE: .*could stay/) as string,
    });
    const { said, holds } = await send(before, thin, { forceBase: true });
    expect(said).toMatch(
      /vg\/snap: an earlier transfer brought other changes from this base: .*verify.*scan/,
    );
    expect(holds).toMatchObject({ is: 'since', identity: 'BASE', believed: expect.any(String) as string });
    // where the source knows all of it, nothing is left
    const { believed } = before;
    expect(await send({ ...before, table: TABLE }, {})).toEqual({
      ...{ said: '', holds: believed === undefined ? RESULT : { ...RESULT, believed } },
    });
  });

  it('is counted together with what a live origin’s table gained meanwhile', async () => {
    const live = changesOf(volumeOf(CHUNKS, 2), [[3], [5, 6]], true);
    const { holds } = await send({ is: 'exactly', identity: 'BASE', from: null }, live);
    expect(holds).toEqual({ is: 'since', identity: 'BASE', from: 'BASE', table: { id: 'BASE', entries: 3 } });
    // what was read before that names less
    const before = altered(changesOf(volumeOf(CHUNKS, 2), [[3, 5]]), NAMED);
    await expect(send(holds ?? RESULT, before)).rejects.toThrow(/other changes from BASE: this/);
  });

  const result = { is: 'exactly', identity: 'RESULT', from: 'BASE' } as const;
  it.each<TargetState>([{ is: 'exactly', identity: 'BASE', from: null }, result])(
    'never came to a target that holds exactly $identity',
    async (before) => {
      expect(await send(before, thin)).toEqual({ said: '', holds: result });
    },
  );
});
