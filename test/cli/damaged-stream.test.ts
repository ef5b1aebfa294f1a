import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeEnd, encodeFrame } from '../../src/stream/frame-format.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { patterned } from '../support/blocks.js';
import { runWords } from '../support/run-program.js';
import { someHeader } from '../support/scenes/feed.js';
import { framesOf, restream } from '../support/scenes/reframe.js';
import { collectingSink } from '../support/streams.js';

const SIZE = 64 * 1024;
const BASE = patterned(SIZE);
let folder: string;
let whole: Buffer;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-damaged-'));
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  await writer.start({ ...someHeader(SIZE), base: 'A', result: 'B' });
  await writer.prove({ offset: 8192, length: 4096, crc: crc32(BASE.subarray(8192, 12_288)) });
  await writer.data(8192, Buffer.alloc(4096, 'new'));
  // A second pass: what came before it is written although more is to come.
  await writer.nextPass();
  await writer.zero(0, 4096);
  await writer.finish();
  whole = sink.bytes();
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const inState = (words: readonly string[]) => [...words, '--state-dir', at('state')];

const right = { dataBytes: 4096, zeroBytes: 4096, discardBytes: 0 };
const ending = (counts: typeof right) => (number: number, chain: Buffer) =>
  encodeFrame('E', 0, number, encodeEnd({ frames: number, ...counts }, chain));
const flipped = (position: number) => {
  const bytes = Buffer.from(whole);
  bytes.writeUInt8(bytes.readUInt8(position) ^ 1, position);
  return bytes;
};
const longFrame = () => {
  const bytes = Buffer.from(whole);
  bytes.writeUInt32BE(0xffff_ffff, framesOf(whole).at(-1));
  return bytes;
};

describe('a damaged stream on the command line', () => {
  it.each<[string, () => Uint8Array, number, boolean]>([
    ['nothing at all', () => Buffer.alloc(0), 5, false],
    ['a greeting', () => Buffer.from('Welcome!\n'), 6, false],
    ['a stream cut in its header', () => whole.subarray(0, 100), 5, false],
    ['one cut in its data', () => whole.subarray(0, 2000), 5, false],
    ['one without its end frame', () => whole.subarray(0, framesOf(whole).at(-1)), 5, true],
    ['one cut by its last byte', () => whole.subarray(0, -1), 5, true],
    ['one with a bit flipped in its data', () => flipped(2000), 6, false],
    ['one with a bit flipped in its end', () => flipped(whole.length - 10), 6, true],
    ['one that something follows', () => Buffer.concat([whole, Buffer.from('\n')]), 6, true],
    ['one that counts wrongly', () => restream(whole, [], ending({ ...right, dataBytes: 1 })), 6, true],
    ['a frame of 4 GiB', longFrame, 6, true],
    [
      'an unknown frame',
      () => restream(whole, [{ type: 'X', payload: Buffer.alloc(1) }], ending(right)),
      6,
      true,
    ],
  ])('%s is reported in one line, with its exit status', async (name, stream, status, isHalfWritten) => {
    const target = at(`${name.replace(/\W/g, '-')}.img`);
    writeFileSync(target, BASE);
    const applied = await runWords(inState(['--apply', '-', target]), stream());
    const words = applied.said.join('\n');
    expect([applied.status, applied.stdout.length], words).toEqual([status, 0]);
    expect(words).not.toMatch(/internal (fault|error)|^\s+at /m);
    // One line of the error, and one of the state that the target was left in where writing had begun.
    expect(applied.said.filter((line) => !line.includes(target))).toHaveLength(1);
    expect(words.includes('half-written')).toBe(isHalfWritten);
    const recovered = await runWords(inState(['recover', target]));
    expect(recovered.said).toEqual([
      expect.stringMatching(isHalfWritten ? /taken back to what it held before/ : /nothing to recover/),
    ]);
    expect(recovered.status).toBe(0);
    expect(readFileSync(target)).toBeBytes(BASE);
  });
});

describe('a snapback of the Ruby tool that ends within the last chunk of its volume', () => {
  const CHUNK = 65_536;
  /** What it has of the last chunk. */
  const THERE = 1536;
  const header = (offset: number) => {
    const bytes = Buffer.alloc(12);
    bytes.writeBigUInt64BE(BigInt(offset), 0);
    bytes.writeUInt32BE(CHUNK, 8);
    return bytes;
  };
  const stream = Buffer.concat([
    ...[Buffer.from('lvmsync PROTO[3]\n'), header(0), Buffer.alloc(CHUNK, 1)],
    ...[header(CHUNK), Buffer.alloc(THERE, 2)],
  ]);

  it('is applied to a target of exactly that size, and a message says so', async () => {
    const target = at('odd');
    writeFileSync(target, Buffer.alloc(CHUNK + THERE));
    const { status, said } = await runWords(inState(['--apply', '-', target]), stream);
    expect({ status, said: said.join('\n') }).toEqual({
      status: 0,
      said: expect.stringMatching(
        /its last record announces 65536 bytes at byte 65536 and has 1536, /,
      ) as string,
    });
    const written = Buffer.concat([Buffer.alloc(CHUNK, 1), Buffer.alloc(THERE, 2)]);
    expect(readFileSync(target)).toBeBytes(written);
  });

  it.each([CHUNK + THERE + 512, CHUNK * 2])('is truncated for a target of %i bytes', async (size) => {
    const target = at(`odd-${size}`);
    writeFileSync(target, Buffer.alloc(size));
    const { status, said } = await runWords(inState(['--apply', '-', target]), stream);
    expect([status, said.join('\n')]).toEqual([5, expect.stringContaining('cut short')]);
  });
});
