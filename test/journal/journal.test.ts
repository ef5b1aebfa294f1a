import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { undoHeader } from '../../src/apply/make-applier.js';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { recoverTarget } from '../../src/apply/recover.js';
import { Applier } from '../../src/engine/applier.js';
import { BaseMismatchError, UnsafeTargetError, UsageError } from '../../src/errors.js';
import { Journal } from '../../src/journal/journal.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { applyBlock, dataBlock, patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const SIZE = 64 * 1024;
const HEADER = undoFor(SIZE, 4096);
/** Each run flushes files for real, on whatever disk there is. */
const SLOW = 60_000;
let parent: string;

beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-journal-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});

const recover = (target: OpenTarget, evenIfChanged = false) =>
  recoverTarget(target, quietSurroundings(), { evenIfChanged });

/** A target and an apply to it that has been begun. */
async function begin(device = new MemoryDevice(patterned(SIZE), '/dev/t'), snapback: string | null = null) {
  const target = openInMemory(device, parent);
  const journal = await Journal.begin(target.folder, HEADER, snapback);
  const applier = new Applier(device, { log: journal.log, lendOld: pool() });
  return { device, target, journal, applier };
}

const block = fc.record({
  offset: fc.nat(SIZE - 1),
  length: fc.integer({ min: 1, max: 9000 }),
  byte: fc.nat(255),
});

async function applyAny(
  applier: Applier,
  { offset, length, byte }: { offset: number; length: number; byte: number },
) {
  const clipped = Math.min(length, SIZE - offset);
  if (byte === 0) await applyBlock(applier, { kind: 'zero', offset, length: clipped });
  else await applyBlock(applier, dataBlock(offset, clipped, byte));
}

describe('a journal', () => {
  it(
    'takes a target back from anywhere in any apply',
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(block, { maxLength: 20 }), async (blocks) => {
          const { applier, journal, device, target } = await begin();
          for (const each of blocks) await applyAny(applier, each);
          // All is written, and then the power fails before the end is recorded.
          await applier.finish();
          await journal.log.sync();
          await journal.log.close();
          expect(await recover(target)).toMatchObject({ kind: 'taken back' });
          expect(device.bytes).toBeBytes(patterned(SIZE));
          expect(await recover(target)).toMatchObject({ kind: 'nothing to do' });
        }),
        { numRuns: 12 },
      );
    },
    SLOW,
  );

  it('takes it back although the crash tore its own tail, and some of the writes', async () => {
    const { applier, journal, device, target } = await begin();
    await applyBlock(applier, dataBlock(0, 8192, 1));
    await applier.finish();
    // A second batch whose log is only half on disk: none of its writes can have begun.
    const { size } = statSync(journal.log.path);
    await applyBlock(applier, dataBlock(16_384, 4096, 2));
    await journal.log.save(device, [{ offset: 16_384, length: 4096 }]);
    await applier.abandon();
    await journal.log.close();
    truncateSync(journal.log.path, size + 1000);
    // The first batch's write was torn: half of its sectors are old.
    patterned(SIZE).copy(device.bytes, 2048, 2048, 6000 - (6000 % 512));
    expect(await recover(target)).toMatchObject({ kind: 'taken back', bytes: 8192 });
    expect(device.bytes).toBeBytes(patterned(SIZE));
  });

  it('shows that the apply was complete, whatever the crash left undone after it', async () => {
    const { applier, journal, device, target } = await begin();
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    await journal.log.end();
    await journal.log.close();
    expect(await recover(target)).toEqual({ kind: 'holds the result', snapback: null, problem: null });
    expect(device.bytes.subarray(0, 4096)).toBeBytes(Buffer.alloc(4096, 1));
    expect(readdirSync(target.folder)).toEqual(['stamp']);
  });

  it('leaves nothing behind when the apply is done', async () => {
    const { applier, journal, target } = await begin();
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    await journal.commit();
    expect(readdirSync(target.folder)).toEqual(['stamp']);
    expect(await recover(target)).toEqual({ kind: 'nothing to do', stateDir: parent });
  });

  it('of an apply that overwrote nothing is removed at once', async () => {
    const { journal, target } = await begin();
    expect(await journal.abandon(false, null, null)).toBe(false);
    expect(readdirSync(target.folder)).toEqual(['stamp']);
  });

  it('stops if someone else wrote since, and writes the old bytes only if told to', async () => {
    const { applier, journal, device, target } = await begin();
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applyBlock(applier, dataBlock(8192, 4096, 2));
    await applier.finish();
    await journal.log.close();
    device.bytes.fill(0x55, 8192, 12_288);
    const before = Buffer.from(device.bytes);
    const recovering = recover(target);
    await expect(recovering).rejects.toThrow(BaseMismatchError);
    await expect(recovering).rejects.toThrow('/dev/t: at byte 8192: neither the old nor the new bytes');
    expect(device.bytes).toBeBytes(before);
    expect(await recover(target, true)).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(patterned(SIZE));
  });

  it('allows no torn block before the last flush', async () => {
    const { applier, journal, device, target } = await begin();
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    await journal.log.markFlushed(journal.log.announced);
    await journal.log.close();
    patterned(SIZE).copy(device.bytes, 512, 512, 1024);
    await expect(recover(target)).rejects.toThrow(BaseMismatchError);
  });

  it('that is gone is reported as gone', async () => {
    const { applier, journal, target } = await begin();
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    await journal.log.close();
    unlinkSync(journal.log.path);
    await expect(recover(target)).rejects.toThrow(
      /it is gone\. Without its journal the target cannot be recovered/,
    );
  });

  it('with garbage after a crash, as file systems leave it, is read up to the garbage', async () => {
    const { applier, journal, device, target } = await begin();
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    await journal.log.close();
    appendFileSync(journal.log.path, Buffer.alloc(100_000));
    expect(await recover(target)).toMatchObject({ kind: 'taken back', bytes: 4096 });
    expect(device.bytes).toBeBytes(patterned(SIZE));
  });

  it('is not begun if there is no space for it', async () => {
    const target = openInMemory(new MemoryDevice(SIZE), parent);
    const beginning = Journal.begin(target.folder, { ...HEADER, expectedBytes: 2 ** 52 }, null);
    await expect(beginning).rejects.toThrow(UnsafeTargetError);
    await expect(beginning).rejects.toThrow(/not enough space for the journal.*--state-dir/);
  });
});

describe('a snapback', () => {
  it(
    'takes the target back, whatever the blocks and however they overlap',
    async () => {
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(block, { maxLength: 20 }), async (blocks) => {
          const path = join(parent, `any-${run++}`);
          const { applier, journal, device, target } = await begin(undefined, path);
          for (const each of blocks) await applyAny(applier, each);
          await applier.finish();
          await journal.commit();
          const undo = {
            what: path,
            target,
            policy: { ...DEFAULT_POLICY, journal: false, forceBase: true },
            isSession: false,
          };
          await receiveStream(sourceOf(readFileSync(path)), undo, quietSurroundings(), pool());
          expect(device.bytes).toBeBytes(patterned(SIZE));
        }),
        { numRuns: 10 },
      );
    },
    SLOW,
  );

  it('gets its name, for its owner only, when the apply is done, and has another until then', async () => {
    const path = join(parent, 'named');
    const { applier, journal } = await begin(undefined, path);
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    expect([existsSync(path), existsSync(`${path}.partial`)]).toEqual([false, true]);
    await journal.commit();
    expect([existsSync(path), existsSync(`${path}.partial`)]).toEqual([true, false]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('serves as the journal: recover finds it wherever it is', async () => {
    const path = join(parent, 'serves');
    const { applier, journal, device, target } = await begin(undefined, path);
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    await journal.log.close();
    expect(await recover(target)).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(patterned(SIZE));
    expect(existsSync(`${path}.partial`)).toBe(false);
  });

  it('gets its name from recover if the apply was complete before the crash', async () => {
    const path = join(parent, 'done');
    const { applier, journal, target } = await begin(undefined, path);
    await applyBlock(applier, dataBlock(0, 4096, 1));
    await applier.finish();
    await journal.log.end();
    await journal.log.close();
    expect(await recover(target)).toEqual({ kind: 'holds the result', snapback: path, problem: null });
    expect(existsSync(path)).toBe(true);
  });

  it('overwrites no file, whole or not', async () => {
    const { folder } = openInMemory(new MemoryDevice(SIZE), parent);
    const path = join(parent, 'exists');
    writeFileSync(path, 'precious');
    await expect(Journal.begin(folder, HEADER, path)).rejects.toThrow(UsageError);
    const partial = join(parent, 'unfinished');
    writeFileSync(`${partial}.partial`, 'precious');
    await expect(Journal.begin(folder, HEADER, partial)).rejects.toThrow(/unfinished snapback/);
    expect([readFileSync(path, 'utf8'), readFileSync(`${partial}.partial`, 'utf8')]).toEqual([
      'precious',
      'precious',
    ]);
  });

  const applied = { ...undoFor(SIZE, 4096), kind: 'changes' as const, base: 'A', result: 'C' };
  const maker = { host: 'there', time: HEADER.time, writer: 'test' };
  it.each([
    [{ is: 'exactly', identity: 'A', from: null }, 'A'],
    [{ is: 'exactly', identity: 'B', from: 'A' }, 'B'],
    // What the contents bear out is known at the end only.
    [{ is: 'since', identity: 'A', from: 'A' }, 'A'],
    [null, 'A'],
    [{ is: 'copying', identity: 'A', from: null }, null],
  ] as const)('leads from what is applied to what was there: %o, to %s', (before, result) => {
    const header = undoHeader(applied, before, new MemoryDevice(SIZE), maker);
    expect([header.kind, header.base, header.result]).toEqual(['undo', 'C', result]);
  });
});
