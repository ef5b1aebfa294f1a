import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { piecesOf } from '../../src/bytes/byte-channel.js';
import { DeviceError } from '../../src/errors.js';

const MIB = 1024 * 1024;

let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'lvmsync-pieces-'))));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** A file of so many bytes that notes from where it is read, and breaks from a position on. */
class FakeFile {
  readonly reads: number[] = [];
  settled = 0;

  constructor(
    private readonly size: number,
    private readonly breaksAt = Infinity,
  ) {}

  get handle(): FileHandle {
    return { read: this.read.bind(this) } as unknown as FileHandle;
  }

  private async read(piece: Buffer, _at: number, length: number, position: number) {
    this.reads.push(position);
    await setImmediate();
    this.settled += 1;
    if (position >= this.breaksAt) throw new Error('EIO');
    const bytesRead = Math.max(0, Math.min(length, this.size - position));
    piece.fill(position / MIB + 1, 0, bytesRead);
    return { bytesRead };
  }
}

describe('the pieces of a file', () => {
  test.each([0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 700])(
    'are all of its %i bytes, each until the next is asked for',
    async (size) => {
      const bytes = Buffer.from(
        Uint8Array.from({ length: size }, (_, index) => (index * 7 + (index >> 10)) % 251),
      );
      const path = join(folder, `${size}`);
      writeFileSync(path, bytes);
      const file = await open(path);
      let done = 0;
      for await (const piece of piecesOf(file, path)) {
        await setImmediate();
        expect(Buffer.from(piece)).toBeBytes(bytes.subarray(done, done + piece.length));
        done += piece.length;
      }
      expect(done).toBe(size);
      await file.close();
    },
  );

  test('are read while the one before is used, but no more than the first if only that is asked for', async () => {
    const file = new FakeFile(10 * MIB);
    const pieces = piecesOf(file.handle, 'a file')[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    await pieces.next();
    await setImmediate();
    expect(file.reads).toEqual([0]);
    const second = await pieces.next();
    await setImmediate();
    await setImmediate();
    expect(file.reads).toEqual([0, MIB, 2 * MIB]);
    expect(
      (second.value as Uint8Array | undefined)?.every((byte) => byte === 2),
      'the third does not lie in its memory',
    ).toBe(true);
    await pieces.next();
    await pieces.return?.();
    expect(file.settled, 'no read is under way any more').toBe(file.reads.length);
  });

  test('end in the error of a read, after all that came before it', async () => {
    for (const place of [0, MIB, 3 * MIB]) {
      const file = new FakeFile(10 * MIB, place);
      let done = 0;
      const read = async () => {
        for await (const piece of piecesOf(file.handle, '/dev/some')) done += piece.length;
      };
      const failed = read();
      await expect(failed).rejects.toThrow(DeviceError);
      await expect(failed).rejects.toThrow('EIO');
      expect(done).toBe(place);
    }
  });
});
