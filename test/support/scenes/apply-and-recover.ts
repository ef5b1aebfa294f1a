import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { afterAll, beforeAll, expect } from 'vitest';
import { receiveStream } from '../../../src/apply/receive-stream.js';
import { recoverTarget } from '../../../src/apply/recover.js';
import { LvmsyncError } from '../../../src/errors.js';
import { DEFAULT_POLICY } from '../../../src/targets/apply-policy.js';
import { MemoryDevice } from '../memory-device.js';
import { openInMemory } from '../open-target.js';
import { pool, sourceOf } from '../streams.js';
import { quietSurroundings } from '../surroundings.js';

let parent: string;

beforeAll(() => {
  // Journals are flushed for real: in memory that takes no time.
  parent = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-damage-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

/** What became of a stream: an error's code, or ok. */
export interface Outcome {
  readonly code: string;
  /** What the target held when the run ended, and after `recover`. */
  readonly left: Buffer;
  readonly recovered: Buffer;
  readonly notices: readonly string[];
}

export interface How {
  readonly pieceLength?: number;
  readonly journal?: boolean;
  /** A sender that hears our replies: it may ask for checkpoints, and be asked for what is wanted whole. */
  readonly isHeard?: boolean;
  /** What an earlier session brought, before its line broke. */
  readonly earlier?: Uint8Array;
}

/** Applies a stream to a target and recovers it; fails where anything but an LvmsyncError is thrown. */
export async function applyAndRecover(stream: Uint8Array, base: Buffer, how: How = {}): Promise<Outcome> {
  const device = new MemoryDevice(base, '/dev/t');
  const target = openInMemory(device, parent);
  const env = quietSurroundings();
  const policy = { ...DEFAULT_POLICY, journal: how.journal ?? true };
  const heard = how.isHeard === true ? { want: ignore, durable: ignore } : {};
  const options = { what: 'stream', target, policy, isSession: true, ...heard };
  const apply = (bytes: Uint8Array) =>
    receiveStream(sourceOf(bytes, how.pieceLength), options, env, pool()).then(
      () => 'ok',
      (error: unknown) => {
        if (!(error instanceof LvmsyncError)) throw error;
        return error.code;
      },
    );
  if (how.earlier !== undefined) expect(await apply(how.earlier)).toBe('TRUNCATED');
  const code = await apply(stream);
  const left = Buffer.from(device.bytes);
  await recoverTarget(target, env);
  expect(readdirSync(target.folder).filter((name) => /journal|apply/.test(name))).toEqual([]);
  rmSync(target.folder, { recursive: true });
  return { code, left, recovered: device.bytes, notices: env.notices };
}

const ignore = () => Promise.resolve();

/** Several at once: most of each run is waiting for the journal's files. */
export async function forEach(
  numbers: readonly number[],
  test: (number: number) => Promise<void>,
): Promise<void> {
  const limit = pLimit(8);
  await Promise.all(numbers.map((each) => limit(test, each)));
}

export const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);
