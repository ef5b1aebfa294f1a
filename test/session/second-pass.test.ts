import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { runSender } from '../../src/session/sender.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { altered, changesOf, CHUNK, volumeOf } from '../support/change-source.js';
import type { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

/* A move: a pass while the virtual machine runs, and another one, from the same snapshot, once it has stopped. */

const CHUNKS = 16;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-second-pass-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The volume in a state where these chunks have changed, and those changed again since. */
function changedIn(first: readonly number[], again: readonly number[]): MemoryDevice {
  const volume = volumeOf(CHUNKS, 1);
  const states = [
    [first, 2],
    [again, 3],
  ] as const;
  for (const [chunks, state] of states) {
    const from = volumeOf(CHUNKS, state).bytes;
    for (const chunk of chunks) from.copy(volume.bytes, chunk * CHUNK, chunk * CHUNK, (chunk + 1) * CHUNK);
  }
  return volume;
}

async function pass(
  target: OpenTarget,
  volume: MemoryDevice,
  changes: readonly number[],
  result: string | null,
) {
  const base = volumeOf(CHUNKS, 1);
  const source = altered(changesOf(volume, [changes]), { facts: { result }, volumes: { base } });
  const env = quietSurroundings();
  const open = () => Promise.resolve(target);
  const { far } = startLocalReceiver(open, DEFAULT_POLICY, env);
  const summary = await runSender(far, source, { proofs: true }, env);
  return { mismatches: summary.mismatches, said: env.notices };
}

describe('a second pass from the same snapshot', () => {
  it('does not count against the target what the first one brought and what changed again since', async () => {
    const device = volumeOf(CHUNKS, 1);
    const target = openInMemory(device, folder);
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    expect(await pass(target, changedIn([2, 3, 7], []), [2, 3, 7], null)).toEqual({
      mismatches: 0,
      said: [],
    });
    const stopped = changedIn([2, 3, 7], [3, 7, 9]);
    expect(await pass(target, stopped, [2, 3, 7, 9], 'stopped-1')).toEqual({ mismatches: 0, said: [] });
    expect(device.bytes).toBeBytes(stopped.bytes);
    // and it is no less known than after one pass
    const { holds } = await target.record.read();
    expect(holds).toMatchObject({ is: 'exactly', identity: 'stopped-1' });
    expect(holds).not.toHaveProperty('believed');
  });

  it('counts what someone else wrote into a target that no earlier pass went to', async () => {
    const device = volumeOf(CHUNKS, 1);
    const target = openInMemory(device, folder);
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    device.bytes.fill('someone else', 3 * CHUNK, 4 * CHUNK);
    expect(await pass(target, changedIn([2, 3, 7], []), [2, 3, 7], null)).toMatchObject({ mismatches: 1 });
  });

  it('counts it, too, if the target holds the result already, so that nothing of it should differ', async () => {
    const device = volumeOf(CHUNKS, 1);
    const target = openInMemory(device, folder);
    const stopped = changedIn([2, 3, 7], []);
    await pass(target, stopped, [2, 3, 7], 'stopped-2');
    device.bytes.fill('someone else', 3 * CHUNK, 4 * CHUNK);
    expect(await pass(target, stopped, [2, 3, 7], 'stopped-2')).toMatchObject({ mismatches: 1 });
  });
});
