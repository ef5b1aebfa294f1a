import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { startLocalReceiver } from '../../src/jobs/local-far-side.js';
import { runSender } from '../../src/session/sender.js';
import { DEFAULT_POLICY } from '../../src/target/apply-policy.js';
import type { TargetState } from '../../src/target/state-record.js';
import { changesOf, volumeOf } from '../support/change-source.js';
import { openInMemory } from '../support/open-target.js';
import { pool } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 8;
const RESULT = { is: 'exactly', identity: 'RESULT', from: 'BASE' } as const;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-forgotten-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Sends a change to a target that is recorded to hold a state; what was said, and what is recorded then. */
async function send(before: TargetState, source: Partial<ChangeSource>) {
  const target = openInMemory(volumeOf(CHUNKS, 1), folder);
  await target.record.write(before);
  const about = quietSurroundings();
  const open = () => Promise.resolve(target);
  const { far, outcome } = startLocalReceiver(open, DEFAULT_POLICY, about, pool());
  const from = { ...changesOf(volumeOf(CHUNKS, 2), [[3]]), result: 'RESULT', ...source };
  await runSender(far, from, { proofs: true, dryRun: false }, about, pool());
  expect((await outcome).error).toBeNull();
  return { said: about.notices.join('\n'), holds: (await target.record.read()).holds };
}

describe('what was new since the base and was discarded again', () => {
  const forgetsDiscarded = true;

  it.each<TargetState>([
    { is: 'exactly', identity: 'BETWEEN', from: 'BASE' },
    { is: 'since', identity: 'BASE', from: 'BASE' },
  ])('may be left on a target that holds $is $identity, whose state then has no name', async (before) => {
    const { said, holds } = await send(before, { forgetsDiscarded });
    expect(said).toMatch(/vg\/snap: the target got something else from this base before: .*verify.*scan/);
    expect(holds).toEqual({ is: 'since', identity: 'BASE', from: 'BASE' });
    // where the source knows all of it, nothing is left
    expect(await send(before, {})).toEqual({ said: '', holds: RESULT });
  });

  it.each<TargetState>([{ is: 'exactly', identity: 'BASE', from: null }, RESULT])(
    'never came to a target that holds exactly $identity',
    async (before) => {
      expect(await send(before, { forgetsDiscarded })).toEqual({ said: '', holds: RESULT });
    },
  );
});
