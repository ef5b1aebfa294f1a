import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planCombination } from '../../src/chain/combination.js';
import { FormatError, LvmsyncError, TruncatedStreamError, UsageError } from '../../src/errors.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import {
  applyWrites,
  archiveBytes,
  landOn,
  openBytes,
  proto3Bytes,
  SECTOR,
  type Write,
} from '../support/scenes/archives.js';
import { someHeader } from '../support/scenes/feed.js';
import { collectingSink } from '../support/streams.js';

const SIZE = 16 * SECTOR;
const PASSES: readonly (readonly Write[])[] = [
  [
    { at: 1, count: 2, kind: 'packed', fill: 1 },
    { at: 4, count: 1, kind: 'zero', fill: 0 },
    { at: 6, count: 4, kind: 'packed', fill: 2 },
    { at: 12, count: 1, kind: 'discard', fill: 0 },
  ],
  [{ at: 7, count: 1, kind: 'packed', fill: 3 }],
];
let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-archive-'))));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** What comes of a file: a volume's contents, or the error. */
async function outcomeOf(bytes: Uint8Array): Promise<Buffer | LvmsyncError> {
  const volume = Buffer.alloc(SIZE, 'before');
  try {
    await landOn(volume, planCombination([await openBytes(folder, 'damaged', bytes)]));
    return volume;
  } catch (error) {
    if (error instanceof LvmsyncError) return error;
    throw error;
  }
}

describe.each([true, false])('an archive (with an index: %s)', (indexed) => {
  const right = Buffer.alloc(SIZE, 'before');
  applyWrites(right, PASSES);

  it('returns the blocks that were written, and of two passes those of the later one', async () => {
    expect(await outcomeOf(await archiveBytes(SIZE, { passes: PASSES, indexed }))).toEqual(right);
  });

  it('that was cut anywhere is refused as truncated', async () => {
    const whole = await archiveBytes(SIZE, { passes: PASSES, indexed });
    for (let length = 0; length < whole.length; length += 3) {
      expect(await outcomeOf(whole.subarray(0, length))).toBeInstanceOf(TruncatedStreamError);
    }
  });

  it('with one wrong byte gives an error or the right blocks, never wrong ones', async () => {
    const whole = await archiveBytes(SIZE, { passes: PASSES, indexed });
    for (let at = 0; at < whole.length; at += 2) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
      const outcome = await outcomeOf(damaged);
      // What no block needs (a digest, a mark) is looked at by who reads all of it.
      if (!(outcome instanceof LvmsyncError)) expect(outcome).toEqual(right);
      else expect(outcome.message).toContain('damaged');
    }
  });
});

describe('an index', () => {
  const manyBlocks = async (count: number) => {
    const sink = collectingSink();
    const writer = new FrameWriter(sink, { indexed: true });
    await writer.start(someHeader(count * 1024));
    for (let i = 0; i < count; i++) await writer.data(i * 1024, Buffer.alloc(SECTOR, String(i)));
    await writer.finish();
    return sink.bytes();
  };

  it('that takes several frames is read backwards to its beginning', async () => {
    const count = 4096 * 2 + 5;
    const archive = await openBytes(folder, 'many', await manyBlocks(count));
    expect(archive.extents.count).toBe(count);
    expect(archive.extents.at(4096)).toMatchObject({ offset: 4096 * 1024, length: SECTOR });
  });

  it('is read instead of the blocks, so damage to a block shows only when that block is read', async () => {
    const bytes = await manyBlocks(20);
    const at = bytes.indexOf(Buffer.alloc(SECTOR, '7'));
    bytes[at] = 0x21;
    const archive = await openBytes(folder, 'one-bad', bytes);
    await expect(landOn(Buffer.alloc(20 * 1024), planCombination([archive]))).rejects.toThrow(
      /one-bad: block at byte \d+: its checksum is wrong/,
    );
  });

  it('that is damaged is refused, and says where', async () => {
    const bytes = await manyBlocks(20);
    const end = bytes.length - 90;
    bytes[end - 100] = (bytes[end - 100] ?? 0) ^ 1;
    await expect(openBytes(folder, 'bad-index', bytes)).rejects.toThrow(FormatError);
    await expect(openBytes(folder, 'bad-index', bytes)).rejects.toThrow(/bad-index: index at byte \d+/);
  });
});

describe('a PROTO[3] file', () => {
  const writes: readonly Write[] = [{ at: 2, count: 1, kind: 'data', fill: 1 }];

  it('is opened only if the user says whether it holds changes or an undo', async () => {
    const bytes = await proto3Bytes(writes);
    await expect(openBytes(folder, 'proto3', bytes)).rejects.toThrow(UsageError);
    expect(await openBytes(folder, 'proto3', bytes, 'undo')).toMatchObject({
      ...{ protocol: 3, kind: 'undo', base: null, result: null, volumeSize: 3 * SECTOR, blockSize: SECTOR },
    });
  });

  it('that was cut within a record is refused', async () => {
    const bytes = await proto3Bytes(writes);
    await expect(openBytes(folder, 'cut', bytes.subarray(0, -1), 'undo')).rejects.toThrow(
      TruncatedStreamError,
    );
  });
});
