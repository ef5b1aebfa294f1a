import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';
import { states } from './made-before/states.js';

/* Archives that an earlier build wrote: made-before/make.ts says how. */

const ARCHIVES = join(import.meta.dirname, 'made-before');
const [first, second, third] = states;

/** From which state to which an archive of this name leads. */
const WAYS = [
  ...[{ name: 's1-s2.changes', from: first, to: second }],
  ...[{ name: 's1-s2.proto3', from: first, to: second }],
  ...[{ name: 's2-s3.changes', from: second, to: third }],
  ...[{ name: 's2-s3.proto3', from: second, to: third }],
  ...[{ name: 's1-s2.undo', from: second, to: first }],
  ...[{ name: 's1-s2.snapback', from: second, to: first }],
  ...[{ name: 's2-s3.undo', from: third, to: second }],
  ...[{ name: 's2-s3.snapback', from: third, to: second }],
  ...['none', 'zstd', 'brotli', 'zlib'].map((codec) => ({
    name: `s1-s3.${codec}.undo`,
    from: third,
    to: first,
  })),
];

let folder = '';
const at = (name: string) => join(folder, name);
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-made-before-'))));
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function run(...words: readonly string[]) {
  const { status, said } = await runWords([...words, '--state-dir', at('state')]);
  return { status, said: said.join('\n') };
}

describe('an archive that an earlier build wrote', () => {
  it('is listed in this test', () => {
    const archives = readdirSync(ARCHIVES).filter((name) => !name.endsWith('.ts'));
    expect(WAYS.map(({ name }) => name).toSorted()).toEqual(archives.toSorted());
  });

  it.each(WAYS)('$name takes a target to the state that it leads to', async ({ name, from, to }) => {
    writeFileSync(at('target'), from);
    // a target that nothing is recorded of, and archives that name no base
    const applied = await run(
      '--apply',
      join(ARCHIVES, name),
      at('target'),
      '--force',
      'base',
      '-b',
      at('undo'),
    );
    expect(applied).toMatchObject({ status: 0 });
    expect(readFileSync(at('target'))).toBeBytes(to);

    const undone = await run('--apply', at('undo'), at('target'), '--force', 'base');
    expect(undone).toMatchObject({ status: 0 });
    expect(readFileSync(at('target'))).toBeBytes(from);
  });

  it('can be combined with one that this build writes', async () => {
    writeFileSync(at('target'), second);
    await run(
      '--apply',
      join(ARCHIVES, 's2-s3.changes'),
      at('target'),
      '--force',
      'base',
      '-b',
      at('new.undo'),
    );
    const combined = [
      'combine',
      at('new.undo'),
      join(ARCHIVES, 's1-s2.undo'),
      '--force',
      'base',
      '-o',
      at('both'),
    ];
    expect(await runWords(combined)).toMatchObject({ status: 0 });

    expect(await run('--apply', at('both'), at('target'), '--force', 'base')).toMatchObject({ status: 0 });
    expect(readFileSync(at('target'))).toBeBytes(first);
  });
});
