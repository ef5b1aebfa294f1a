import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isZero } from '../../src/bytes/contents.js';
import { openLocalDevice } from '../../src/device/local-device.js';
import { DeviceError, UnsafeTargetError } from '../../src/errors.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { allocateAligned, BufferPool, freeAligned, isAligned } from '../../src/memory/aligned-memory.js';

const spawner = new ProcessSpawner({});
const SIZE = 64 * 1024 + 512;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-device-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function makeImage(name: string): { path: string; contents: Buffer } {
  const contents = Buffer.from(Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 8)) & 0xff));
  const path = join(folder, name);
  writeFileSync(path, contents);
  return { path, contents };
}

describe.each(['buffered', 'direct'] as const)('an image file, %s', (io) => {
  it('reads any range into any memory', async () => {
    const { path, contents } = makeImage(`read-${io}`);
    const device = await openLocalDevice(path, { io, spawner });
    expect([device.size, device.direct, device.number]).toEqual([SIZE, io === 'direct', null]);
    const range = fc.tuple(fc.nat(SIZE - 1), fc.integer({ min: 1, max: 20_000 }), fc.boolean());
    await fc.assert(
      fc.asyncProperty(range, async ([offset, wanted, aligned]) => {
        const length = Math.min(wanted, SIZE - offset);
        const bytes = aligned ? allocateAligned(length) : Buffer.alloc(length);
        await device.readAt(bytes, offset);
        expect(bytes).toBeBytes(contents.subarray(offset, offset + length));
        if (aligned) freeAligned(bytes);
      }),
      { numRuns: 60 },
    );
    await device.close();
  });

  it('never reads past its end', async () => {
    const device = await openLocalDevice(makeImage(`end-${io}`).path, { io, spawner });
    await expect(device.readAt(Buffer.alloc(1024), SIZE - 512)).rejects.toThrow(DeviceError);
    await device.close();
  });
});

describe('discarding', () => {
  it('turns any range of an image file into zeroes, and nothing else, and frees its space', async () => {
    const { path, contents } = makeImage('discard');
    const device = await openLocalDevice(path, { writable: true, spawner });
    const range = fc.tuple(fc.nat(SIZE - 1), fc.integer({ min: 1, max: 9000 }));
    await fc.assert(
      fc.asyncProperty(range, async ([offset, wanted]) => {
        const length = Math.min(wanted, SIZE - offset);
        await device.discard(offset, length);
        contents.fill(0, offset, offset + length);
        expect(readFileSync(path)).toBeBytes(contents);
      }),
      { numRuns: 30 },
    );
    await device.discard(0, SIZE);
    await device.flush();
    await expect(device.discard(SIZE - 512, 1024)).rejects.toThrow(DeviceError);
    await device.close();
    // the last block, which is there in part, may stay; of all others the room is free
    const { size, blocks } = statSync(path);
    expect(size).toBe(SIZE);
    expect(blocks * 512).toBeLessThanOrEqual(4096);
  });
});

describe('writing an image file', () => {
  it('writes at any offset, and changes nothing else', async () => {
    const { path, contents } = makeImage('write');
    const device = await openLocalDevice(path, { writable: true, spawner });
    const range = fc.tuple(fc.nat(SIZE - 1), fc.integer({ min: 1, max: 9000 }), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(range, async ([offset, wanted, byte]) => {
        const length = Math.min(wanted, SIZE - offset);
        contents.fill(byte, offset, offset + length);
        await device.writeAt(Buffer.alloc(length, byte), offset);
      }),
      { numRuns: 60 },
    );
    contents.fill(0, 100, 50_100);
    await device.zero(100, 50_000);
    await device.flush();
    await device.close();
    expect(readFileSync(path)).toBeBytes(contents);
  });

  it.each(['buffered', 'direct'] as const)('takes any pieces, one after the other, %s', async (io) => {
    const { path, contents } = makeImage(`pieces-${io}`);
    const device = await openLocalDevice(path, { writable: true, io, spawner });
    const piece = fc.tuple(fc.constantFrom(4096, 8192, 512, 77), fc.nat(255), fc.boolean());
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 5 }), fc.nat(8), async (described, start) => {
        const offset = start * 4096;
        const pieces = described.map(([length, byte, aligned]) =>
          (aligned ? allocateAligned(length) : Buffer.alloc(length)).fill(byte),
        );
        await device.writePiecesAt(pieces, offset);
        Buffer.concat(pieces).copy(contents, offset);
        expect(readFileSync(path)).toBeBytes(contents);
      }),
      { numRuns: 40 },
    );
    const tail = [Buffer.alloc(512), Buffer.alloc(512)];
    await expect(device.writePiecesAt(tail, SIZE - 512)).rejects.toThrow(DeviceError);
    expect(readFileSync(path)).toBeBytes(contents);
    await device.close();
  });

  it('keeps the rest of a sector that is written in part, also with direct I/O and side by side', async () => {
    const { path, contents } = makeImage('edges');
    const device = await openLocalDevice(path, { writable: true, io: 'direct', spawner });
    const writes = Array.from({ length: 40 }, (_, i) => ({ offset: 512 * i, byte: i }));
    await Promise.all(
      writes.map(({ offset, byte }) => {
        contents.fill(byte, offset, offset + 512);
        return device.writeAt(Buffer.alloc(512, byte), offset);
      }),
    );
    await device.close();
    expect(readFileSync(path)).toBeBytes(contents);
  });

  it('never extends it', async () => {
    const { path } = makeImage('extend');
    const device = await openLocalDevice(path, { writable: true, spawner });
    await expect(device.writeAt(Buffer.alloc(1024), SIZE - 512)).rejects.toThrow(
      `${path}: write at byte ${SIZE - 512}`,
    );
    await device.close();
    expect(statSync(path).size).toBe(SIZE);
  });
});

describe('what is not a device', () => {
  it('is refused', async () => {
    await expect(openLocalDevice(folder, { writable: true, spawner })).rejects.toThrow(UnsafeTargetError);
    await expect(openLocalDevice(folder, { spawner })).rejects.toThrow(DeviceError);
    await expect(openLocalDevice(folder, { spawner })).rejects.toThrow(
      `${folder}: open failed: neither a block device nor a regular file`,
    );
    await expect(openLocalDevice('/dev/null', { writable: true, spawner })).rejects.toThrow(
      /neither a block device/,
    );
    const missing = join(folder, 'missing');
    await expect(openLocalDevice(missing, { writable: true, spawner })).rejects.toThrow(
      `${missing}: stat failed: ENOENT`,
    );
    const link = join(folder, 'dangling');
    symlinkSync(missing, link);
    await expect(openLocalDevice(link, { spawner })).rejects.toThrow(DeviceError);
  });
});

describe('aligned memory', () => {
  it('is at page boundaries, and is reused', () => {
    const first = allocateAligned(10_000);
    expect([
      first.length,
      isAligned(first),
      isAligned(first.subarray(1)),
      isAligned(Buffer.alloc(8)),
    ]).toEqual([10_000, true, false, false]);
    freeAligned(first);
    expect(allocateAligned(10_000).byteOffset).toBe(first.byteOffset);
  });

  it('is lent up to a limit, in the order of the requests', async () => {
    const pool = new BufferPool(72 * 1024);
    const [a, b] = [await pool.lend(65_536), await pool.lend(5000)];
    const order: string[] = [];
    const c = pool.lend(4096).then((lent) => (order.push('c'), lent));
    const d = pool.lend(4096).then((lent) => (order.push('d'), lent));
    await new Promise(setImmediate);
    expect(order).toEqual([]);
    a.release();
    a.release();
    await Promise.all([c, d]);
    expect(order).toEqual(['c', 'd']);
    b.release();
    await expect(pool.lend(2 * 1024 * 1024)).rejects.toThrow(RangeError);
  });
});

describe('the zero test', () => {
  it('is exact', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000_000 }), fc.nat(), (length, seed) => {
        const bytes = Buffer.alloc(length);
        expect(isZero(bytes)).toBe(true);
        bytes[seed % length] = 1;
        expect(isZero(bytes)).toBe(false);
      }),
      { numRuns: 30 },
    );
  });
});
