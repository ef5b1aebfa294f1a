import Module from 'node:module';
import zlib from 'node:zlib';
import { afterEach, describe, expect, it, vi } from 'vitest';

/** The module anew, with what it loads as `required`. */
async function withLibrary(required: () => unknown) {
  vi.resetModules();
  vi.spyOn(Module, 'createRequire').mockReturnValue(Object.assign(required, { resolve: {} }) as never);
  vi.doMock('node:module', () => ({ createRequire: Module.createRequire, default: Module }));
  return await import('../../src/bytes/contents.js');
}

describe('the checksum library', () => {
  afterEach(() => {
    vi.doUnmock('node:module');
    vi.restoreAllMocks();
    vi.resetModules();
  });

  const bytes = Buffer.alloc(100_000, 'some bytes');

  it('sums long pieces if it is there, and Node sums short ones', async () => {
    const library = vi.fn<(bytes: Uint8Array, before: number) => number>(() => 42);
    const { crc32 } = await withLibrary(() => ({ crc32: library }));
    expect(crc32(bytes, 7)).toBe(42);
    expect(library).toHaveBeenCalledWith(bytes, 7);
    expect(crc32(bytes.subarray(0, 14), 7)).toBe(zlib.crc32(bytes.subarray(0, 14), 7));
    expect(library).toHaveBeenCalledTimes(1);
  });

  it('is not needed if there is no build of it for this system', async () => {
    const { crc32 } = await withLibrary(() => {
      throw new Error('Cannot find module');
    });
    expect(crc32(bytes, 7)).toBe(zlib.crc32(bytes, 7));
  });
});
