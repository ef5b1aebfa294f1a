import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { seededBytes } from '../kernel/support/device-bytes.js';
import { runWords } from '../support/run-program.js';

const MIB = 1024 * 1024;
/** Not even whole sectors. */
const SIZE = 9 * MIB + 700;
let folder: string;
let [source, target, stateDir] = ['', '', ''];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-copy-'));
  source = join(folder, 'source');
  // Data, a hole, zeroes, a hole up to the end but for its last bytes.
  const file = openSync(source, 'wx');
  writeSync(file, seededBytes('copy', MIB + 100_000), 0, null, 0);
  writeSync(file, Buffer.alloc(MIB), 0, null, 4 * MIB);
  closeSync(file);
  truncateSync(source, SIZE);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  rmSync(join(folder, 'there'), { recursive: true, force: true });
  mkdirSync(join(folder, 'there'));
  [target, stateDir] = [join(folder, 'there/target'), join(folder, 'there/state')];
});

const copy = (...more: readonly string[]) =>
  runWords(['copy', source, target, '--state-dir', stateDir, ...more]);
/** The target must hold what the source holds. */
function expectEqual(): void {
  expect(readFileSync(target)).toBeBytes(readFileSync(source));
}
const names = () => readdirSync(join(folder, 'there')).filter((name) => name !== 'state');

describe('copy', () => {
  it('overwrites all of the volume’s part of a target, and keeps the bytes after it', async () => {
    writeFileSync(target, Buffer.alloc(SIZE + 5, 'before '));
    const { status, stdout, said } = await copy('--json');
    expect([status, JSON.parse(stdout.toString())]).toEqual([
      0,
      expect.objectContaining({ tableBytes: SIZE, changedBytes: SIZE, consistent: true, target }),
    ]);
    const sizes = `it has ${SIZE + 5} bytes, the volume has ${SIZE}`;
    expect(said).toEqual([
      `${target} is larger than the volume: ${sizes}; the bytes after that stay as they are`,
    ]);
    expect(readFileSync(target).subarray(0, SIZE)).toBeBytes(readFileSync(source));
    expect(readFileSync(target).subarray(SIZE)).toBeBytes(Buffer.alloc(SIZE + 5, 'before ').subarray(SIZE));
  });

  it('with --create makes a private file with the same holes, and records what it holds', async () => {
    const { status, said } = await copy('--create');
    expect([status, said]).toEqual([
      0,
      [expect.stringMatching(/^9 MiB copied \(100\.0 % of 9 MiB\), 1\.\d+ MiB sent/)],
    ]);
    expectEqual();
    expect(names()).toEqual(['target']);
    const { mode, blocks } = statSync(target);
    expect(mode & 0o777).toBe(0o600);
    expect(blocks * 512).toBeLessThan(2 * MIB);
    const { key } = await targetKeyOf(target);
    const record = JSON.parse(readFileSync(join(stateDir, 'targets', key, 'state.json'), 'utf8')) as object;
    expect(record).toMatchObject({ is: 'exactly', from: null });
    // What is there is written in place.
    const { ino } = statSync(target);
    expect((await copy('--create')).status).toBe(0);
    expect(statSync(target).ino).toBe(ino);
    expectEqual();
  });

  it('continues a file that an earlier copy left, whatever it holds', async () => {
    writeFileSync(`${target}.lvmsync-partial`, Buffer.alloc(SIZE, 'left '));
    expect((await copy('--create')).status).toBe(0);
    expectEqual();
    expect(names()).toEqual(['target']);
  });

  it.each([
    [
      'of another size',
      () => {
        writeFileSync(`${target}.lvmsync-partial`, 'other');
      },
      /left by another copy \(5 bytes\)/,
    ],
    [
      'that is a link',
      () => {
        symlinkSync(source, `${target}.lvmsync-partial`);
      },
      /in the way, and not a regular file/,
    ],
  ])('does not touch what is in the way, %s', async (_what, spoil, message) => {
    spoil();
    const { status, said } = await copy('--create');
    expect([status, said]).toEqual([3, [expect.stringMatching(message)]]);
    expect(existsSync(target)).toBe(false);
  });

  it('with --seed sends only what differs', async () => {
    const bytes = readFileSync(source);
    bytes.fill(1, 5000, 5001);
    writeFileSync(target, bytes);
    const { status, stdout } = await copy('--seed', '--json');
    expect([status, JSON.parse(stdout.toString())]).toEqual([
      0,
      expect.objectContaining({ changedBytes: 4096 }),
    ]);
    expectEqual();
  });

  it('in a dry run writes nothing', async () => {
    writeFileSync(target, Buffer.alloc(SIZE, 'before '));
    const { status, said } = await copy('--dry-run');
    expect([status, said]).toEqual([
      0,
      [expect.stringMatching(/^dry run: 9 MiB \(.*\) at most would be sent to .*nothing was written/)],
    ]);
    expect(readFileSync(target)).toBeBytes(Buffer.alloc(SIZE, 'before '));
  });

  it.each([
    [[], 8, /a transfer does not create targets: .*"lvmsync copy --create"/],
    [['--create', '--dry-run'], 2, /--create cannot be used with --dry-run/],
    [['--create', '--seed'], 2, /--seed cannot be used with --create/],
    [['--create-thin', 'pool'], 2, /is not a volume name/],
  ])('does not make a missing target with %j', async (more, expected, message) => {
    const { status, said } = await copy(...more);
    expect([status, said]).toEqual([expected, [expect.stringMatching(message)]]);
    expect(names()).toEqual([]);
  });

  it.each([['/dev/lvmsync-new'], ['/dev/mapper/vg-new'], ['/dev/disk/by-id/x']])(
    'makes nothing with the name %s',
    async (name) => {
      const { status, said } = await runWords(['copy', source, name, '--create', '--state-dir', stateDir]);
      expect([status, said]).toEqual([
        2,
        [expect.stringMatching(/creates only logical volumes and files: write \/dev\/VG\/LV/)],
      ]);
    },
  );
});

describe('a target that begins as an image of virtual machines', () => {
  const qcow2 = readFileSync(join(import.meta.dirname, '../targets/container-headers/qcow2'));
  const image = (size: number, rest = '') => Buffer.concat([qcow2, Buffer.alloc(size - 512, rest)]);

  it.each([
    ['copy', ['copy']],
    ['copy --seed', ['copy', '--seed']],
    ['--scan', ['--scan']],
  ])('is not overwritten by %s, and stays as it is', async (_what, [word = '', ...more]) => {
    writeFileSync(target, image(SIZE));
    const { status, said } = await runWords([word, source, target, ...more, '--state-dir', stateDir]);
    expect(status).toBe(3);
    expect(said.join('\n')).toContain(
      'target: it begins with the header of a qcow2 image, and raw bytes would overwrite',
    );
    expect(said.join('\n')).toContain('nothing was written to it');
    expect(readFileSync(target)).toBeBytes(image(SIZE));
  });

  it('takes an image of its own kind, for example if a volume holds one', async () => {
    const held = join(folder, 'held');
    writeFileSync(held, image(SIZE, 'new'));
    writeFileSync(target, image(SIZE, 'old'));
    const { status } = await runWords(['copy', held, target, '--state-dir', stateDir]);
    expect(status).toBe(0);
    expect(readFileSync(target)).toBeBytes(readFileSync(held));
  });
});
