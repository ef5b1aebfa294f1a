import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { DirectStream } from '../../src/session/direct-stream.js';
import { runSender } from '../../src/session/sender.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { altered, changesOf, CHUNK } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 96 * 256;
const all = Array.from({ length: CHUNKS }, (_, chunk) => chunk);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-direct-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** 96 MiB, more than both sides may have in memory at once. */
function volume(text: string, path: string): MemoryDevice {
  return new MemoryDevice(Buffer.alloc(CHUNKS * CHUNK, text), path);
}

describe('a sync within a process, of more than fits in its memory', () => {
  it.each([
    ['in long pieces', all, 'new '],
    ['in chunks that are read together', all.filter((chunk) => chunk % 3 === 0), 'new '],
    ['in chunks far from each other', all.filter((chunk) => chunk % 16 === 0), 'new '],
    ['of chunks that were written as they were', all, 'old '],
  ])('does not wait for memory that it holds itself: %s', async (_what, changed, text) => {
    for (const [journal, held] of [
      [true, 'old '],
      [false, 'old '],
      // All of it is asked for once more.
      [true, 'else'],
    ] as const) {
      const [news, olds, target] = [volume(text, '/dev/n'), volume('old ', '/dev/o'), volume(held, '/dev/t')];
      const source = altered(changesOf(news, [changed]), { volumes: { base: olds } });
      const stateDir = mkdtempSync(join(folder, 'state-'));
      const policy = { ...DEFAULT_POLICY, journal, forceBase: true };
      const direct = new DirectStream();
      const open = () => Promise.resolve(openInMemory(target, folder, stateDir));
      const { far } = startLocalReceiver(open, policy, quietSurroundings(), direct);
      const { blocks } = await runSender(far, source, { proofs: true }, quietSurroundings());
      expect(blocks > 0).toBe(text !== held);
      const expected = volume(held, '/dev/e').bytes;
      for (const chunk of changed)
        news.bytes.copy(expected, chunk * CHUNK, chunk * CHUNK, (chunk + 1) * CHUNK);
      expect(target.bytes).toBeBytes(expected);
    }
  });
});
