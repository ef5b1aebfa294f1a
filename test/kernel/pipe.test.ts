import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  run,
  seededBytes,
  tryToRun,
  writeRandom,
} from './support/lab.js';
import { expectFailure, expectPlainLines } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-pipe';
const SNAPSHOT = `${GROUP}/snap`;
const STREAM = '/run/stream';
const STAND_IN = new URL('../support/ruby-stand-in.js', import.meta.url).pathname;

let target = '';
let origin = '';
let base = '';
let changed = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  origin = await createVolume(GROUP, 'origin', '8M');
  target = await createVolume(GROUP, 'target', '8M');
  await writeRandom(origin, 0, 8 << 20, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '8M', chunkSize: '8k' });
  base = await digestOf(origin);
  await writeRandom(origin, 8192, 8192, 'a');
  await run(['blkdiscard', '-z', '-o', String(2 << 20), '-l', '65536', origin]);
  await writeRandom(origin, 4 << 20, 300_000, 'b');
  changed = await digestOf(origin);
});
beforeEach(() => copyDevice(`/dev/${SNAPSHOT}`, target));

/** The stream of the snapshot's changes, as `--stdout` writes it. */
async function streamOf(...words: readonly string[]): Promise<Buffer> {
  const { status, stdoutBytes, stderr } = await lvmsync([...words, SNAPSHOT, '--stdout']);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expectPlainLines(stderr);
  return stdoutBytes;
}

/** An apply that waits for its standard input, once it has the target for itself. */
async function startWaiting(path: string, stateDir: string) {
  const [command, ...words] = lvmsyncCommand('--apply', '-', '--state-dir', stateDir, path);
  const child = spawn(command, words, { stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = once(child, 'exit');
  while ((await tryToRun(['flock', '--nonblock', path, 'true'])).status === 0) await sleep(50);
  return { stdin: child.stdin, ended };
}

describe('two runs that write one target, with state directories of their own', () => {
  it('are never both admitted, although one does not see the other’s processes', async () => {
    const [image, others] = ['/run/pipe-image', '/run/pipe-others'];
    await copyDevice(`/dev/${SNAPSHOT}`, image);
    chmodSync(image, 0o666);
    writeFileSync(STREAM, await streamOf());
    mkdirSync(others);
    chownSync(others, 65_534, 65_534);
    const first = await startWaiting(image, '/run/pipe-state');
    const asNobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'] as const;
    const second = lvmsyncCommand('--apply', STREAM, '--state-dir', others, image);
    const refused = await tryToRun([...asNobody, ...second]);
    expect(refused).toMatchObject({
      status: 13,
      stderr: expect.stringMatching(
        /^lvmsync: the target \/run\/pipe-image is locked by another program, most likely/,
      ) as string,
    });
    expect(await digestOf(image)).toBe(base);
    first.stdin.end(readFileSync(STREAM));
    expect(await first.ended).toEqual([0, null]);
    expect(await digestOf(image)).toBe(changed);
    expect(await tryToRun([...asNobody, ...second])).toMatchObject({ status: 0 });
  });

  it('are never both admitted to a volume either', async () => {
    writeFileSync(STREAM, await streamOf());
    const first = await startWaiting(target, '/run/pipe-state');
    await expectFailure(['--apply', STREAM, '--state-dir', '/run/pipe-more', target], 3, /open in process/);
    first.stdin.end(readFileSync(STREAM));
    expect(await first.ended).toEqual([0, null]);
    expect(await digestOf(target)).toBe(changed);
  });
});

describe('a stream', () => {
  let whole: Buffer;
  beforeAll(async () => {
    whole = await streamOf();
    writeFileSync(STREAM, whole);
  });

  it('goes through a pipe, even if the target is named on the sending side too', async () => {
    const script = '"${@:1:2}" --stdout "$3" "$4" | "${@:1:2}" --apply - "$4"';
    await run(['bash', '-o', 'pipefail', '-c', script, 'pipe', ...lvmsyncCommand(), SNAPSHOT, target]);
    expect(await digestOf(target)).toBe(changed);
  });

  it('is applied from a file, which the summary names', async () => {
    const { status, stdout } = await lvmsync(['--apply', STREAM, target, '--json']);
    expect(status).toBe(0);
    const bytes = 8192 + 65_536 + 37 * 8192;
    expect(JSON.parse(stdout)).toMatchObject({ changedBytes: bytes, source: STREAM, target, protocol: 4 });
    expect(await digestOf(target)).toBe(changed);
  });

  it('is applied by --server', async () => {
    expect(await lvmsync(['--server', target], { input: whole })).toMatchObject({ status: 0, stdout: '' });
    expect(await digestOf(target)).toBe(changed);
  });

  it.each([
    ['within its first line', 9],
    ['within its header', 100],
    ['within its data', -200_000],
    ['before its end frame', -93],
    ['by its last byte', -1],
  ])('cut %s is never a success', async (_where, at) => {
    writeFileSync('/run/cut', whole.subarray(0, at));
    await expectFailure(['--apply', '/run/cut', target], 5, /: \/run\/cut: cut short at byte \d+/);
  });

  it('with a byte of its data changed is never a success', async () => {
    const damaged = Buffer.from(whole);
    const at = damaged.length - 200_000;
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    await expectFailure(['--apply', '-', target], 6, /checksum/, { input: damaged });
  });

  it('followed by something is never a success', async () => {
    const input = Buffer.concat([whole, Buffer.from('\n')]);
    await expectFailure(['--apply', '-', target], 6, /standard input: /, { input });
  });

  it('is refused by a target that is too small, before the first write', async () => {
    const small = await createVolume(GROUP, 'small', '7M');
    await writeRandom(small, 0, 7 << 20, 'small');
    const before = await digestOf(small);
    await expectFailure(
      ['--apply', STREAM, small],
      3,
      /too small: it has 7 MiB, and the volume has 8 MiB: enlarge it first \(a logical volume: lvextend -L 8388608b /,
    );
    expect(await digestOf(small)).toBe(before);
  });

  it('that is empty is never a success', async () => {
    await expectFailure(['--apply', '-', target], 5, /standard input: cut short at byte 0/, { input: '' });
    await expectFailure(['--apply', '/run/none', target], 8, /\/run\/none: open failed: ENOENT/);
    expect(await digestOf(target)).toBe(base);
  });
});

describe('the Ruby tool’s format', () => {
  it('is written so that a reader that follows its description makes the target right', async () => {
    const input = await streamOf('--protocol', '3');
    expect(input.subarray(0, 17).toString()).toBe('lvmsync PROTO[3]\n');
    await run([process.execPath, STAND_IN, '--apply', '-', target], { input });
    expect(await digestOf(target)).toBe(changed);
  });

  it('is read, in whatever order its records come', async () => {
    const image = readFileSync(target);
    const records = [
      [5 << 20, seededBytes('late', 4096)],
      [12_345, seededBytes('early and odd', 1001)],
      [(5 << 20) + 2048, seededBytes('over it', 4096)],
    ] as const;
    for (const [offset, bytes] of records) image.set(bytes, offset);
    writeFileSync('/run/expected', image);
    const stream = Buffer.concat([
      Buffer.from('lvmsync PROTO[3]\n'),
      ...records.map(([at, b]) => record(at, b)),
    ]);

    const { status, stderr } = await lvmsync(['--apply', '-', target], { input: stream });
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/PROTO\[3\] has neither an end mark nor a base/) as string,
    });
    await expectSameBytes(target, '/run/expected');

    await expectFailure(['--apply', '-', target], 5, /cut short/, { input: stream.subarray(0, -1) });
    await expectFailure(['--apply', '-', target], 5, /cut short/, { input: stream.subarray(0, 17 + 5) });
  });

  it('is refused if a record is past the target’s end', async () => {
    const stream = Buffer.concat([
      Buffer.from('lvmsync PROTO[3]\n'),
      record((8 << 20) - 512, seededBytes('past', 1024)),
    ]);
    await expectFailure(['--apply', '-', target], 3, /is past its end/, { input: stream });
    expect(await digestOf(target)).toBe(base);
  });
});

function record(offset: number, bytes: Uint8Array): Buffer {
  const header = Buffer.alloc(12);
  header.writeBigUInt64BE(BigInt(offset));
  header.writeUInt32BE(bytes.length, 8);
  return Buffer.concat([header, bytes]);
}
