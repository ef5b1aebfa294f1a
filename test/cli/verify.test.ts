import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeFrame, PROTOCOL_LINE } from '../../src/stream/frame-format.js';
import { runWords } from '../support/run-program.js';

const SIZE = 3 * 1024 * 1024 + 700;
let folder: string;
let [a, b] = ['', ''];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-verify-'));
  [a, b] = [join(folder, 'a'), join(folder, 'b')];
  writeFileSync(a, Buffer.alloc(SIZE, 'contents '));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  writeFileSync(b, readFileSync(a));
});

function flip(...offsets: readonly number[]): void {
  const bytes = readFileSync(b);
  for (const offset of offsets) bytes[offset] = (bytes[offset] ?? 0) ^ 0xff;
  writeFileSync(b, bytes);
}

describe('verify', () => {
  it('prints nothing on stdout if nothing differs', async () => {
    const { status, stdout, said } = await runWords(['verify', a, b]);
    expect([status, stdout.length, said]).toEqual([
      0,
      0,
      [expect.stringMatching(/^3 MiB compared in .*: equal$/)],
    ]);
  });

  it('prints what differs, coalesced, and ends with 11', async () => {
    flip(5000, 8192, SIZE - 1);
    const { status, stdout, said } = await runWords(['verify', a, b]);
    expect([status, stdout.toString()]).toEqual([11, '4096 8192\n3145728 700\n']);
    expect(said.at(-1)).toMatch(
      /b does not equal .*a: .* differ in 2 places, the first at byte 4096; use --repair/,
    );
    expect(said).toHaveLength(2);
  });

  it('prints one JSON object', async () => {
    flip(5000);
    const before = statSync(b).mtimeMs;
    const { status, stdout } = await runWords(['verify', a, b, '--json']);
    expect([status, JSON.parse(stdout.toString())]).toEqual([
      11,
      {
        ...{
          equal: false,
          comparedBytes: SIZE,
          differingBytes: 4096,
          remainingBytes: 4096,
          outsideBytes: null,
        },
        ...{ consistent: true, seconds: expect.any(Number) as number, a, b, extents: [[4096, 4096]] },
      },
    ]);
    expect(statSync(b).mtimeMs).toBe(before);
  });

  it('repairs, and compares again', async () => {
    flip(0, 1_000_000, SIZE - 1);
    const { status, stdout, said } = await runWords(['verify', '--repair', a, b]);
    expect([status, stdout.toString()]).toEqual([0, '0 4096\n999424 4096\n3145728 700\n']);
    expect(said.join('\n')).toMatch(/8\.68 KiB sent and compared again: .*b now equals .*a there/);
    expect(readFileSync(b)).toBeBytes(readFileSync(a));
    const { stdout: json } = await runWords(['verify', '--repair', a, b, '--json']);
    expect(JSON.parse(json.toString())).toMatchObject({ equal: true, differingBytes: 0, remainingBytes: 0 });
  });

  it('compares only the beginning of a larger file, and repairs no more than that', async () => {
    writeFileSync(b, Buffer.concat([readFileSync(a), Buffer.alloc(5000, 'rest')]));
    flip(0);
    const { status, said } = await runWords(['verify', a, b, '--repair']);
    expect([status, said[0]]).toEqual([0, expect.stringMatching(/5000 bytes larger than .*not compared/)]);
    expect(readFileSync(b)).toBeBytes(Buffer.concat([readFileSync(a), Buffer.alloc(5000, 'rest')]));
  });

  it('compares only a share if told to', async () => {
    // whichever of the four units is drawn, the last short one too, holds a difference
    flip(0, 1 << 20, 2 << 20, 3 << 20);
    const { status, stdout } = await runWords(['verify', a, b, '--audit', '25', '--json']);
    const report = JSON.parse(stdout.toString()) as { comparedBytes: number; differingBytes: number };
    expect([status, report.comparedBytes <= 1024 * 1024]).toEqual([11, true]);
    expect(report.differingBytes).toBeLessThanOrEqual(report.comparedBytes);
  });

  it.each([
    [
      'a smaller file',
      3,
      /b: too small to equal .*a: it has 99 B, and .*a has .*; to let --repair make it equal, enlarge it to \d+ bytes first$/,
    ],
    ['a missing file', 8, /b: stat failed: ENOENT/],
    ['a folder', 8, /neither a block device nor a regular file/],
  ])('refuses %s', async (what, expected, message) => {
    if (what === 'a smaller file') writeFileSync(b, Buffer.alloc(99));
    else rmSync(b);
    const { status, stdout, said } = await runWords(['verify', a, what === 'a folder' ? folder : b]);
    expect([status, stdout.length, said]).toEqual([expected, 0, [expect.stringMatching(message)]]);
  });

  it('finds that A is missing', async () => {
    const { status, said } = await runWords(['verify', join(folder, 'none'), b]);
    expect([status, said]).toEqual([8, [expect.stringMatching(/none: stat failed: ENOENT/)]]);
  });
});

describe('receive --read-only', () => {
  it('writes nothing, whatever it is sent', async () => {
    const before = readFileSync(b);
    const stream = Buffer.concat([
      Buffer.from(PROTOCOL_LINE),
      encodeFrame('Z', 0, 0, Buffer.alloc(16, 0).fill(1, 15)),
    ]);
    const { status, stdout } = await runWords(['receive', '--read-only', b], stream);
    expect([status, stdout.toString('latin1')]).toEqual([6, expect.stringMatching(/"code":"FORMAT"/)]);
    expect(readFileSync(b)).toBeBytes(before);
  });
});
