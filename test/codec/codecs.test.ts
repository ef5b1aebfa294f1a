import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { brotliCodec, nodeZstdCodec, zlibCodec } from '../../src/codec/built-in-codecs.js';
import { CODEC_LEVELS, type Codec } from '../../src/codec/codec.js';
import { listCodecs, loadCodec, zstdLibraryCodec } from '../../src/codec/load-codec.js';
import { allocateAligned, freeAligned } from '../../src/memory/aligned-memory.js';

const LARGEST = 1024 * 1024;

/** Every implementation that this host has, by what it is. */
const implementations = [
  { what: 'zlib', codec: zlibCodec },
  { what: 'brotli', codec: brotliCodec },
  { what: "libzstd's zstd", codec: await zstdLibraryCodec() },
  { what: "Node's zstd", codec: nodeZstdCodec() },
].filter((each): each is { what: string; codec: Codec } => each.codec !== null);

/** Runs of a byte, of a pattern, and of noise: what volumes hold. */
const piece = fc.record({
  length: fc.integer({ min: 1, max: 20_000 }),
  kind: fc.constantFrom('byte', 'pattern', 'noise'),
  seed: fc.nat(255),
});
const blocks = fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) =>
  Buffer.concat(
    pieces.map(({ length, kind, seed }) => {
      if (kind === 'noise') return randomBytes(length);
      return Buffer.alloc(length, kind === 'byte' ? Buffer.of(seed) : `sector ${seed} `);
    }),
  ),
);

async function pack(codec: Codec, raw: Uint8Array, level?: number): Promise<Buffer> {
  const room = Buffer.alloc(raw.length + 1000);
  const length = await codec.compress(raw, room, level ?? CODEC_LEVELS[codec.name].usual);
  if (length === null) throw new Error('no room');
  return room.subarray(0, length);
}

/** Decompresses between two guards, which must stay as they are. */
async function unpack(codec: Codec, packed: Uint8Array, length: number): Promise<Buffer> {
  const around = Buffer.alloc(length + 128, 0xa5);
  const raw = around.subarray(64, 64 + length);
  try {
    await codec.decompress(packed, raw);
    return Buffer.from(raw);
  } finally {
    const guards = Buffer.concat([around.subarray(0, 64), around.subarray(64 + length)]);
    expect(guards).toBeBytes(Buffer.alloc(128, 0xa5));
  }
}

describe.each(implementations)('$what', ({ codec }) => {
  it('restores any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(blocks, async (raw) => {
        expect(await unpack(codec, await pack(codec, raw), raw.length)).toBeBytes(raw);
      }),
      { numRuns: 40 },
    );
  });

  it('restores the largest block, from and to the memory of blocks, at every kind of level', async () => {
    const { least, most, usual } = CODEC_LEVELS[codec.name];
    const [raw, room, back] = [0, 0, 0].map(() => allocateAligned(LARGEST)) as [Buffer, Buffer, Buffer];
    for (let at = 0; at < LARGEST; at += 64)
      raw.fill(`line ${at % 9973} ${(at * 7919) % 104_729} `, at, at + 64);
    for (const level of [least, usual, Math.min(most, 9)]) {
      const length = await codec.compress(raw, room, level);
      expect(length).toBeLessThan(LARGEST / 2);
      await codec.decompress(room.subarray(0, length ?? 0), back.fill(0));
      expect(back).toBeBytes(raw);
    }
    for (const memory of [raw, room, back]) freeAligned(memory);
  });

  it('gives nothing if the bytes do not become fewer', async () => {
    const raw = randomBytes(100_000);
    expect(await codec.compress(raw, Buffer.alloc(93_750), CODEC_LEVELS[codec.name].usual)).toBeNull();
  });

  it('writes no byte beyond what was promised, whatever the packed bytes decompress to', async () => {
    const bomb = await pack(codec, Buffer.alloc(64 * LARGEST));
    expect(bomb.length).toBeLessThan(LARGEST / 2);
    for (const length of [1, 512, LARGEST]) {
      await expect(unpack(codec, bomb, length)).rejects.toThrow(/it decompresses to/);
    }
  });

  it('is not deceived by any other length', async () => {
    const raw = Buffer.alloc(5000, 'some text, again and again; ');
    const packed = await pack(codec, raw);
    for (const length of [1, 4999, 5001, 10_000]) {
      await expect(unpack(codec, packed, length)).rejects.toThrow(/it decompresses to/);
    }
    for (let length = 0; length < packed.length; length++) {
      await expect(unpack(codec, packed.subarray(0, length), raw.length)).rejects.toThrow(
        /unexpected end of file|Src size is incorrect|it decompresses to/,
      );
    }
  });

  it('turns damaged bytes into an error or the same number of bytes, and keeps working', async () => {
    const raw = Buffer.concat([Buffer.alloc(3000, 'a pattern of some length '), randomBytes(300)]);
    const packed = await pack(codec, raw);
    let refused = 0;
    for (let bit = 0; bit < packed.length * 8; bit += 7) {
      const damaged = Buffer.from(packed);
      damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const outcome = await unpack(codec, damaged, raw.length).catch((error: unknown) => error);
      if (outcome instanceof Error) refused += 1;
    }
    expect(refused).toBeGreaterThan(0);
    expect(await unpack(codec, packed, raw.length)).toBeBytes(raw);
  });

  it('compresses several blocks at once', async () => {
    const raws = Array.from({ length: 12 }, (_, i) => Buffer.alloc(LARGEST / 4, `block ${i} `));
    const packed = await Promise.all(raws.map((raw) => pack(codec, raw)));
    const back = await Promise.all(packed.map((each) => unpack(codec, each, LARGEST / 4)));
    expect(back).toHaveLength(12);
    for (const [i, each] of back.entries()) expect(each, `block ${i}`).toBeBytes(raws[i]);
  });
});

/** Other programs that read what ours writes; what they write is among the golden vectors. */
const others = [
  { program: 'zstd', words: ['-dc'], name: 'zstd' },
  {
    program: 'python3',
    words: ['-c', 'import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))'],
    name: 'zlib',
  },
].filter(({ program }) => {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
});

describe.each(others)('$program reads', ({ program, words, name }) => {
  test.each(implementations.filter(({ codec }) => codec.name === name))(
    'what $what writes',
    async ({ codec }) => {
      const raw = Buffer.concat([Buffer.alloc(LARGEST / 2, 'text of a file, '), randomBytes(LARGEST / 2)]);
      expect(
        execFileSync(program, words, { input: await pack(codec, raw), maxBuffer: 2 * LARGEST }),
      ).toBeBytes(raw);
    },
  );
});

const zstds = implementations.filter(({ codec }) => codec.name === 'zstd');
/** Of two hosts each may have another one. Where this Node has none, there is one at most. */
const pairs = zstds.flatMap((writer) =>
  zstds.filter((reader) => reader !== writer).map((reader) => ({ writer, reader })),
);

describe.each(pairs)('$reader.what reads what $writer.what writes', ({ writer, reader }) => {
  it('at every level', async () => {
    const raw = Buffer.concat([Buffer.alloc(100_000, 'text of a file, '), randomBytes(50_000)]);
    const { least, most } = CODEC_LEVELS.zstd;
    for (let level = least; level <= most; level++) {
      const packed = await pack(writer.codec, raw, level);
      expect(packed.length).toBeLessThan(60_000);
      expect(await unpack(reader.codec, packed, raw.length)).toBeBytes(raw);
    }
  });
});

test('zstd is Node’s own from 22.15 on, without a library', async () => {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isThere = major > 22 || (major === 22 && minor >= 15);
  expect(nodeZstdCodec() !== null).toBe(isThere);
  expect((await loadCodec('zstd'))?.constructor === zlibCodec.constructor).toBe(isThere);
});

test('zlib and brotli are always there, and everything that is there is named', async () => {
  const names = await listCodecs();
  expect(names).toEqual(expect.arrayContaining(['brotli', 'zlib']));
  expect(new Set(names)).toEqual(new Set(implementations.map(({ codec }) => codec.name)));
});
