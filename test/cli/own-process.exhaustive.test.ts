import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { patterned } from '../support/blocks.js';
import { someHeader } from '../support/scenes/feed.js';
import { collectingSink } from '../support/streams.js';

/* What test/cli/damaged-stream.test.ts and test/cli/recover.test.ts show in their own process, shown in one of lvmsync's. */

const SIZE = 4 * 1024 * 1024;
const BASE = patterned(SIZE);
const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
let [folder, target, state] = ['', '', ''];
beforeEach(() => {
  folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-process-'));
  [target, state] = [join(folder, 'target'), join(folder, 'state')];
  writeFileSync(target, BASE);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Runs lvmsync from its sources, in a folder. */
function run(cwd: string, words: readonly string[], input: Uint8Array = Buffer.alloc(0)) {
  const program = ['--import', import.meta.resolve('tsx'), MAIN];
  return spawnSync(process.execPath, [...program, ...words], { cwd, input, encoding: 'utf8' });
}

describe('a process that applies a stream cut by its last byte', () => {
  it('says in two lines what happened and how to take the target back', async () => {
    const stream = await someStream();
    const applied = run('/', ['--apply', '-', target, '--state-dir', state], stream.subarray(0, -1));
    expect([applied.status, applied.stdout]).toEqual([5, '']);
    expect(applied.stderr.trim().split('\n')).toEqual([
      expect.stringContaining(`"lvmsync recover --state-dir ${state} ${target}" takes it back`),
      expect.stringContaining(`standard input: cut short at byte ${stream.length - 1}`),
    ]);
    expect(run('/', ['recover', target, '--state-dir', state]).status).toBe(0);
    expect(readFileSync(target)).toBeBytes(BASE);
  });

  it('leaves a journal that a recover from another folder finds', async () => {
    const stream = await someStream();
    const words = ['--apply', '-', target, '--state-dir', 'state', '--snapback', 'undo'];
    const applied = run(folder, words, stream.subarray(0, -1));
    expect(applied.status).toBe(5);
    expect(readFileSync(target)).not.toBeBytes(BASE);
    expect(applied.stderr).toContain(`--state-dir ${state}`);
    expect(statSync(join(folder, 'undo.partial')).size).toBeGreaterThan(SIZE / 2);
    const recovered = run('/', ['recover', target, '--state-dir', state]);
    expect(recovered.status, recovered.stderr).toBe(0);
    expect(readFileSync(target)).toBeBytes(BASE);
  });
});

/** A stream over half of the target. */
async function someStream(): Promise<Buffer> {
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  await writer.start({ ...someHeader(SIZE), base: 'A', result: 'B' });
  for (let at = 0; at < SIZE; at += SIZE / 4) await writer.data(at, Buffer.alloc(SIZE / 8, 'new'));
  // What comes before a second pass is written although more is to come.
  await writer.nextPass();
  await writer.zero(0, 4096);
  await writer.finish();
  return sink.bytes();
}
