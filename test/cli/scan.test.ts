import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makePrivateFolder } from '../../src/host/durable-file.js';
import { Journal } from '../../src/journal/journal.js';
import type { StreamHeader } from '../../src/stream/stream-header.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { announced } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { runWords } from '../support/run-program.js';

const SIZE = 3 * 1024 * 1024 + 700;
let folder: string;
let [source, target, stateDir] = ['', '', ''];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-scan-'));
  [source, target, stateDir] = ['source', 'target', 'state'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(source, Buffer.alloc(SIZE, 'contents '));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  rmSync(stateDir, { recursive: true, force: true });
  writeFileSync(target, readFileSync(source));
});

function flip(...offsets: readonly number[]): void {
  const bytes = readFileSync(target);
  for (const offset of offsets) bytes[offset] = (bytes[offset] ?? 0) ^ 0xff;
  writeFileSync(target, bytes);
}

const scan = (...more: readonly string[]) =>
  runWords(['--scan', source, target, '--state-dir', stateDir, ...more]);

describe('--scan', () => {
  it('sends what differs, and nothing else', async () => {
    flip(5000, 1_000_000, SIZE - 1);
    const { status, stdout } = await scan('--json');
    expect([status, JSON.parse(stdout.toString())]).toEqual([
      0,
      expect.objectContaining({
        ...{ tableBytes: 2 * 4096 + 700, changedBytes: 2 * 4096 + 700, blocks: 3, consistent: true },
        ...{ source, target, mismatches: 0 },
      }),
    ]);
    expect(readFileSync(target)).toBeBytes(readFileSync(source));
  });

  it('sends nothing if nothing differs, and records what the target holds', async () => {
    const before = statSync(target).mtimeMs;
    const { status, said } = await scan();
    expect([status, said]).toEqual([0, [expect.stringMatching(/^0 B differed \(0\.0 % of 3 MiB\), /)]]);
    expect(statSync(target).mtimeMs).toBe(before);
    const { key } = await targetKeyOf(target);
    const record = JSON.parse(readFileSync(join(stateDir, 'targets', key, 'state.json'), 'utf8')) as object;
    expect(record).toMatchObject({ is: 'exactly', identity: expect.stringMatching(/^stopped-/) as string });
  });

  it('reports that all of it was compared or written since it began', async () => {
    flip(5000);
    const verified = async (...words: readonly string[]) =>
      (JSON.parse((await runWords(words)).stdout.toString()) as { verified: object }).verified;
    const rest = [source, target, '--state-dir', stateDir, '--json'];
    const all = { bytes: SIZE, share: 1, since: '2026-01-02T03:04:05.000Z' };
    expect(await verified('--scan', ...rest)).toEqual(all);
    flip(5000);
    expect(await verified('copy', '--seed', ...rest)).toEqual(all);
  });

  it('keeps the rest of a target that is larger', async () => {
    flip(0);
    const tail = Buffer.from('the rest');
    writeFileSync(target, Buffer.concat([readFileSync(target), tail]));
    const { status, said } = await scan();
    expect([status, said.filter((line) => line.includes('larger than the volume')).length]).toEqual([0, 1]);
    expect(readFileSync(target)).toBeBytes(Buffer.concat([readFileSync(source), tail]));
  });

  it('keeps the old bytes in a snapback, which takes the target back', async () => {
    flip(5000);
    const before = readFileSync(target);
    const snapback = join(folder, 'undo');
    expect((await scan('--snapback', snapback)).status).toBe(0);
    expect(readFileSync(target)).not.toBeBytes(before);
    const undo = await runWords(['--apply', snapback, target, '--state-dir', stateDir]);
    expect(undo.status).toBe(0);
    expect(readFileSync(target)).toBeBytes(before);
  });

  it('writes nothing in a dry run, but says what it would write', async () => {
    flip(5000);
    const before = readFileSync(target);
    const { status, said } = await scan('--dry-run');
    expect([status, said.at(-1)]).toEqual([
      0,
      expect.stringMatching(/^dry run: 4 KiB \(.*\) would be sent to /),
    ]);
    expect(readFileSync(target)).toBeBytes(before);
  });

  it('prints the plan of a dry run as JSON', async () => {
    flip(5000);
    const { status, stdout } = await scan('--dry-run', '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      blocks: 0,
      plan: { steps: [{ do: 'look closer' }, { do: 'write', bytes: 4096, keeps: 'journal' }], refusals: [] },
    });
  });

  it('first takes back what an interrupted apply wrote, which must not count as compared', async () => {
    // The old state differs at 5000 and 9000; the apply had written the first of them.
    flip(5000, 9000);
    const old = readFileSync(target).subarray(4096, 8192);
    const { key } = await targetKeyOf(target);
    const place = join(stateDir, 'targets', key);
    await makePrivateFolder(place);
    const header: StreamHeader = {
      kind: 'undo',
      ...{ volumeSize: SIZE, blockSize: 4096, base: null, result: null, expectedBytes: 0 },
      ...{ names: {}, host: 'h', time: '2026-01-02T03:04:05.000Z', writer: 'w' },
    };
    const journal = await Journal.begin(place, header, null);
    const extent = { offset: 4096, length: 4096 };
    const crc = crc32(readFileSync(source).subarray(4096, 8192));
    const writes = announced({ ...extent, zeroes: false, crc });
    await journal.log.save(new MemoryDevice(SIZE), [{ ...extent, bytes: old }], writes);
    await journal.log.handOver();
    await journal.log.sync();
    await journal.log.close();
    flip(5000);
    expect((await runWords(['verify', source, target])).status).toBe(11);
    const half = readFileSync(target);
    const planned = await scan('--dry-run');
    expect([planned.status, planned.said[0], planned.said.length]).toEqual([
      0,
      expect.stringMatching(
        /target: half-written by an earlier run; a run that writes would first take it back/,
      ),
      2,
    ]);
    expect(readFileSync(target)).toBeBytes(half);
    const { status, said } = await scan();
    expect([status, said[0]]).toEqual([0, expect.stringMatching(/taken back to what it held before/)]);
    expect(readFileSync(target)).toBeBytes(readFileSync(source));
  });

  it('says that the source was in use, and that the target is not a point-in-time copy', async () => {
    flip(5000);
    const opened = openSync(source, 'r+');
    const writer = spawn('sleep', ['600'], { stdio: [opened, 'ignore', 'ignore'] });
    try {
      const { status, stdout, said } = await scan('--json');
      expect([status, JSON.parse(stdout.toString()), said]).toEqual([
        0,
        expect.objectContaining({ consistent: false }),
        [expect.stringMatching(/^.*source: in use: .* use a snapshot of it instead$/)],
      ]);
      expect(readFileSync(target)).toBeBytes(readFileSync(source));
      expect((await scan()).said.at(-1)).toMatch(
        /^warning: .*source: it was in use while it was read, so the target is not a consistent/,
      );
    } finally {
      writer.kill();
      closeSync(opened);
    }
  });

  it.each([
    [['--stdout'], /--stdout cannot be used with --scan/],
    [['--protocol', '3'], /a Ruby lvmsync cannot send the digests/],
    [['--data-source', 'x'], /--data-source cannot be used with --scan/],
    [['--cow', 'x'], /--cow cannot be used with --scan/],
    [['--whole-chunks'], /--whole-chunks cannot be used with --scan/],
  ])('is refused with %j', async (more, message) => {
    const { status, said } = await scan(...more);
    expect([status, said]).toEqual([2, [expect.stringMatching(message)]]);
  });

  it.each([
    [
      'a target that is too small',
      () => {
        writeFileSync(target, 'small');
      },
      3,
      /too small: it has 5 B, and the volume has .*: enlarge it first \(truncate -s \d+ .*\)$/,
    ],
    [
      'no target',
      () => {
        rmSync(target);
      },
      8,
      /create a volume of the size/,
    ],
  ])('refuses %s before it reads a byte', async (_what, spoil, expected, message) => {
    spoil();
    const { status, said } = await scan();
    expect([status, said]).toEqual([expected, [expect.stringMatching(message)]]);
  });

  it('refuses its own source', async () => {
    const { status, said } = await runWords(['--scan', source, source, '--state-dir', stateDir]);
    expect([status, said]).toEqual([
      3,
      [expect.stringMatching(/a device or file that the source .* is read from/)],
    ]);
  });
});
