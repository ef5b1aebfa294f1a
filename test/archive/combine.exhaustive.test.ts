import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openArchive } from '../../src/archive/archive.js';
import { planCombination } from '../../src/chain/combination.js';
import { combine } from '../../src/jobs/combine.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { runWords } from '../support/run-program.js';
import {
  applyWrites,
  archiveBytes,
  landOn,
  proto3Bytes,
  SECTOR,
  type Wanted,
  type Write,
} from '../support/scenes/archives.js';
import { feed, readAll, someHeader } from '../support/scenes/feed.js';
import { collectingSink } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const SECTORS = 40;
const SIZE = SECTORS * SECTOR;
let folder = '';
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-combine-'))));
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function save(name: string, wanted: Wanted): Promise<string> {
  const path = join(folder, name);
  writeFileSync(path, await archiveBytes(SIZE, wanted));
  return path;
}

const write: fc.Arbitrary<Write> = fc.record({
  at: fc.nat(SECTORS - 10),
  count: fc.integer({ min: 1, max: 10 }),
  kind: fc.constantFrom('data', 'packed', 'zero', 'discard'),
  fill: fc.nat(250),
});
/** A single write a pass, as passes may overlap. */
const passes = fc.array(write, { maxLength: 6 }).map((writes) => writes.map((each) => [each]));
const AS_THEY_ARE = { codec: null, proto3: null };

describe('combine', () => {
  it('makes a complete stream, with an index, that has the effect of all of them', async () => {
    const codecs = [null, { kind: 'none' }, { kind: 'codec', name: 'brotli', level: null }] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.array(passes, { minLength: 1, maxLength: 5 }),
        fc.constantFrom(...codecs),
        async (all, codec) => {
          const out = join(folder, 'out');
          rmSync(out, { force: true });
          const files = await Promise.all(
            all.map((each, index) => save(`a${index}`, { passes: each, indexed: index % 2 === 0 })),
          );
          const summary = await combine(out, files, { ...AS_THEY_ARE, codec }, quietSurroundings());

          const applied = Buffer.alloc(SIZE, 'before');
          for (const each of all) applyWrites(applied, each);
          const combined = Buffer.alloc(SIZE, 'before');
          await landOn(combined, planCombination([await openArchive(out)]));
          expect(combined).toBeBytes(applied);
          expect((await readAll(feed(readFileSync(out)))).outcome).toBe('ok');
          expect(summary.size).toBe(statSync(out).size);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('makes a file for its owner only, and leaves nothing else behind', async () => {
    const a = await save('a', { passes: [[]], indexed: true });
    await combine(join(folder, 'out'), [a], AS_THEY_ARE, quietSurroundings());
    expect(statSync(join(folder, 'out')).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).sort()).toEqual(['a', 'out']);
  });

  it('says that a volume grew from within a sector, which no stream can express', async () => {
    const small = join(folder, 'small');
    const odd = Buffer.alloc(5000, 'odd');
    const sink = collectingSink();
    const writer = new FrameWriter(sink, { indexed: true });
    await writer.start({ ...someHeader(odd.length), base: null, result: null });
    await writer.data(0, odd);
    await writer.finish();
    writeFileSync(small, sink.bytes());
    const large = await save('large', { passes: [[]], indexed: true });
    const out = join(folder, 'out');
    for (const order of [
      [small, large],
      [large, small],
    ]) {
      const { status, said } = await runWords(['combine', '-o', out, ...order]);
      expect(status).toBe(2);
      expect(said).toContainEqual(expect.stringMatching(/small: .* 5000 .*within a sector.* 20480/));
      expect(readdirSync(folder).sort()).toEqual(['large', 'small']);
    }
    // what covers it is all that counts
    const over = await save('over', {
      passes: [[{ at: 9, count: 1, kind: 'zero', fill: 0 }]],
      indexed: true,
    });
    expect(await runWords(['combine', '-o', out, small, over])).toMatchObject({ status: 0 });
  });

  it('never overwrites a file', async () => {
    const a = await save('a', { passes: [[]], indexed: true });
    writeFileSync(join(folder, 'out'), 'precious');
    const { status, said } = await runWords(['combine', '-o', join(folder, 'out'), a]);
    expect(status).toBe(2);
    expect(said).toEqual([expect.stringMatching(/out: already exists; an archive never overwrites/)]);
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('precious');
  });
});

describe('combine of what cannot be', () => {
  const data: Write = { at: 4, count: 3, kind: 'data', fill: 1 };

  it.each([
    ['cut short', (bytes: Buffer) => bytes.subarray(0, -200), 5, /b: cut short at byte/],
    [
      'damaged',
      (bytes: Buffer) => bytes.fill(0x21, 600, 601),
      6,
      /b: block at byte \d+: its checksum is wrong/,
    ],
  ])('%s is refused, and leaves no file', async (_, spoil, status, message) => {
    const a = await save('a', { passes: [[data]], indexed: true });
    const b = await save('b', { passes: [[data]], indexed: true });
    writeFileSync(b, spoil(readFileSync(b)));
    const outcome = await runWords(['combine', '-o', join(folder, 'out'), a, b]);
    expect(outcome.status).toBe(status);
    expect(outcome.said.join('\n')).toMatch(message);
    expect(readdirSync(folder).sort()).toEqual(['a', 'b']);
  });

  it('does not meet exits 7, and with --force=base says what it assumed', async () => {
    const a = await save('a', { passes: [[data]], indexed: true, header: { base: 'A', result: 'B' } });
    const b = await save('b', { passes: [[data]], indexed: true, header: { base: 'C', result: 'D' } });
    const words = ['combine', '-o', join(folder, 'out'), a, b];
    const refused = await runWords(words);
    expect(refused.status).toBe(7);
    expect(refused.said).toEqual([expect.stringMatching(/b: it starts from C, but .*a leads to B/)]);
    const forced = await runWords([...words, '--force', 'base', '--json']);
    expect(forced.status).toBe(0);
    expect(forced.said).toEqual([expect.stringMatching(/the given order is assumed to be right/)]);
    expect(JSON.parse(forced.stdout.toString())).toMatchObject({ base: 'A', result: null, files: 2 });
  });

  it('does not say what it is needs the user’s word, and says what it assumed', async () => {
    const a = join(folder, 'a');
    writeFileSync(a, await proto3Bytes([data]));
    const words = ['combine', '-o', join(folder, 'out'), a, a];
    const refused = await runWords(words);
    expect(refused.status).toBe(2);
    expect(refused.said).toEqual([expect.stringMatching(/--proto3 changes or --proto3 undo/)]);
    const { status, said } = await runWords([...words, '--proto3', 'changes']);
    expect(status).toBe(0);
    expect(said[0]).toMatch(
      /PROTO\[3\], which does not record states\): the given order is assumed to be right/,
    );
  });
});
