import {
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { recoverTarget } from '../../src/apply/recover.js';
import { UnsafeTargetError } from '../../src/errors.js';
import { Journal } from '../../src/journal/journal.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { archiveBytes, SECTOR, type Write } from '../support/scenes/archives.js';
import { pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

/** So much that some of it is written before the stream is cut. */
const SECTORS = 64 * 1024;
const EXACTLY_S1 = { is: 'exactly', identity: 'S1', from: null } as const;
const ALL: readonly Write[] = Array.from({ length: 24 }, (_, index) => ({
  ...{ at: index * 2048, count: 1024, kind: 'data' as const, fill: 2 },
}));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-left-over-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

type Header = NonNullable<Parameters<typeof archiveBytes>[1]['header']>;

async function streamOf(header: Header, writes: readonly Write[] = ALL): Promise<Buffer> {
  return await archiveBytes(SECTORS * SECTOR, { passes: [writes], indexed: false, header });
}

const stampOf = (target: OpenTarget) => join(target.folder, 'stamp');

/** As if the process had been killed, or the power cut: nothing says how it left the target. */
function withoutStamp(target: OpenTarget): void {
  const note = join(target.folder, 'apply.json');
  const { stamp, ...rest } = JSON.parse(readFileSync(note, 'utf8')) as Record<string, unknown>;
  expect(stamp).toMatch(/^file /);
  writeFileSync(note, JSON.stringify(rest));
}

const BASE = patterned(SECTORS * SECTOR);
const onward = (base: string, result: string) => streamOf({ kind: 'changes', base, result }, ALL.slice(0, 1));

describe('an apply that was cut short is taken back', () => {
  it('to what was recorded, if no one wrote since', async () => {
    const { device, target } = await cutTarget();
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(BASE);
    expect((await target.record.read()).holds).toEqual(EXACTLY_S1);
    // the next stream starts there
    expect(await apply(target, await onward('S1', 'S3'))).toMatchObject({ code: 'ok' });
    expect((await target.record.read()).holds).toEqual({ is: 'exactly', identity: 'S3', from: 'S1' });
  });

  it('to what is only believed, if nothing says how it was left', async () => {
    const { device, target } = await cutTarget();
    withoutStamp(target);
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(BASE);
    const believed = expect.stringMatching(/interrupted/) as string;
    expect((await target.record.read()).holds).toEqual({ ...EXACTLY_S1, believed });
    expect(await apply(target, await onward('S1', 'S3'))).toMatchObject({ code: 'ok' });
    expect((await target.record.read()).holds).toMatchObject({ identity: 'S3', believed });
  });

  it('before a stream that starts there, not before one that starts elsewhere', async () => {
    const { device, target, left } = await cutTarget();
    withoutStamp(target);
    expect(await apply(target, await onward('S2', 'S3'))).toEqual({
      code: 'BASE_MISMATCH',
      said: expect.stringMatching(
        /exactly S1, but the stream starts from S2; that is what "lvmsync recover .*nothing was written/,
      ) as string,
    });
    expect(device.bytes).toBeBytes(left);
    expect(existsSync(join(target.folder, 'apply.json'))).toBe(true);
    expect(await apply(target, await onward('S1', 'S3'))).toMatchObject({ code: 'ok' });
  });
});

describe('an apply that was cut short is not taken back', () => {
  it('over what someone wrote since, and a full copy needs no way back', async () => {
    const { device, target, left } = await cutTarget();
    // all new bytes are there, by someone else: and nothing of them is ours
    utimesSync(stampOf(target), 1, 1);
    const refused = {
      code: 'BASE_MISMATCH',
      said: expect.stringMatching(
        /someone wrote to it since an apply to it was interrupted\. Nothing was taken back, and nothing was written\..*apply\.json.*--force=base/s,
      ) as string,
    };
    for (const base of ['S1', 'S2']) expect(await apply(target, await onward(base, 'S3'))).toEqual(refused);
    await expect(recoverTarget(target, quietSurroundings())).rejects.toMatchObject({ code: refused.code });
    expect(device.bytes).toBeBytes(left);

    const copy = await streamOf({ kind: 'full', base: null, result: 'S4' }, [
      { at: 0, count: SECTORS / 64, kind: 'data', fill: 4 },
    ]);
    expect(await apply(target, copy)).toEqual({
      code: 'ok',
      said: expect.stringMatching(/this run overwrites the whole target/) as string,
    });
    const { holds } = await target.record.read();
    expect(holds).toMatchObject({ is: 'exactly', identity: 'S4', from: null });
    expect(holds?.believed).toBeUndefined();
  });

  it('and is reported as half-copied after a copy that gives the journal up and ends before its first block', async () => {
    const { target, left, device } = await cutTarget();
    utimesSync(stampOf(target), 1, 1);
    const header = { kind: 'full', base: null, result: 'S4' } as const;
    const writes: readonly Write[] = [{ at: 0, count: 1024, kind: 'data', fill: 4 }];
    // one that is too large gives nothing up
    const tooLarge = await archiveBytes(2 * SECTORS * SECTOR, { passes: [writes], indexed: false, header });
    const refused = await apply(target, tooLarge);
    expect(refused).toEqual({ code: 'UNSAFE_TARGET', said: expect.stringMatching(/too small/) as string });
    expect(refused.said).not.toMatch(/overwrites the whole target/);
    const withoutProofs = await streamOf({ ...header, sample: { changed: 1, unchanged: 0 } }, writes);
    expect(await apply(target, withoutProofs)).toEqual({
      code: 'FORMAT',
      said: expect.stringMatching(
        /overwrites the whole target\n[^]*\/dev\/t: half-copied: run the copy again/,
      ) as string,
    });
    const copy = await streamOf(header, writes);
    expect(await apply(target, copy.subarray(0, copy.length - 100_000))).toEqual({
      code: 'TRUNCATED',
      said: expect.stringMatching(
        /\/dev\/t: nothing was written to it, which is half-copied by an earlier run: run that copy again/,
      ) as string,
    });
    expect(device.bytes).toBeBytes(left);
    expect((await target.record.read()).holds).toMatchObject({ is: 'copying', identity: 'S4' });
  });

  it('on another file that has its path now', async () => {
    const { device, target, left } = await cutTarget();
    withoutStamp(target);
    writeFileSync(`${stampOf(target)}.new`, '');
    renameSync(`${stampOf(target)}.new`, stampOf(target));
    await expect(recoverTarget(target, quietSurroundings())).rejects.toMatchObject({
      code: 'BASE_MISMATCH',
      message: expect.stringMatching(
        /belongs to another device \(inode \d+.*; this is inode \d+.*Nothing was taken back/,
      ) as string,
    });
    expect(device.bytes).toBeBytes(left);
  });

  it('unless forced, and then the result is only believed', async () => {
    const { device, target } = await cutTarget();
    utimesSync(stampOf(target), 1, 1);
    await recoverTarget(target, quietSurroundings(), { evenIfChanged: true });
    expect(device.bytes).toBeBytes(BASE);
    expect((await target.record.read()).holds).toMatchObject({
      identity: 'S1',
      believed: expect.stringMatching(/although someone wrote/) as string,
    });
  });
});

it('a refusal after a take-back says what is true', async () => {
  const { device, target } = await cutTarget();
  const undo = await streamOf({ kind: 'undo', base: 'S1', result: 'S0' }, ALL.slice(0, 1));
  withoutStamp(target);
  const { code, said } = await apply(target, undo);
  expect(code).toBe('BASE_MISMATCH');
  expect(said).toMatch(/an undo from a pipe .*; nothing else was written/);
  expect(said).toMatch(/taken back to what it held before \(\d+ bytes\)/);
  expect(device.bytes).toBeBytes(BASE);
});

/** An apply that was done when the process was killed, before anything else was noted. */
async function doneTarget(snapback: string | null) {
  const target = openInMemory(new MemoryDevice(patterned(SECTORS * SECTOR), '/dev/t'), folder);
  await target.record.write({ is: 'applying from', identity: 'S1', from: 'S1', to: 'S2' });
  const journal = await Journal.begin(target.folder, undoFor(SECTORS * SECTOR, 4096), snapback, {
    before: EXACTLY_S1,
    device: null,
  });
  await journal.log.end();
  await journal.log.close();
  return { target, log: journal.log.path };
}

describe('an apply that was done but not recorded', () => {
  it('leaves no record of an apply in progress', async () => {
    const { target } = await doneTarget(null);
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'holds the result' });
    expect((await target.record.read()).holds).toBeNull();
  });

  it('leaves none either if its snapback has its name already', async () => {
    const snapback = join(folder, 'undo');
    const { target, log } = await doneTarget(snapback);
    renameSync(log, snapback);
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'holds the result' });
    expect((await target.record.read()).holds).toBeNull();
  });
});

it('a killed run without a journal leaves a state that is only believed', async () => {
  const target = openInMemory(new MemoryDevice(patterned(SECTORS * SECTOR), '/dev/t'), folder);
  await target.record.write({ is: 'applying from', identity: 'S1', from: 'S1', to: 'S2' });
  const believed = 'an apply to it was interrupted';
  expect((await target.record.read()).holds).toMatchObject({ identity: 'S1', believed });
});

it('a run that was cut short checks who began to use the target, because its journal then proves less', async () => {
  const target = openInMemory(new MemoryDevice(patterned(SECTORS * SECTOR), '/dev/t'), folder);
  await target.record.write(EXACTLY_S1);
  const inUse = {
    ...target,
    checkStillAlone: () => Promise.reject(new UnsafeTargetError('/dev/t', 'open in process 7')),
  };
  const stream = await streamOf({ kind: 'changes', base: 'S1', result: 'S2' });
  expect(await apply(inUse, stream.subarray(0, stream.length - 1024))).toEqual({
    code: 'TRUNCATED',
    said: expect.stringMatching(/half-written; .* takes it back .*; what others wrote stays/) as string,
  });
  expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'taken back' });
  const believed = expect.stringMatching(/lvmsync cannot tell whether someone wrote to it since/) as string;
  expect((await target.record.read()).holds).toEqual({ ...EXACTLY_S1, believed });
});

async function apply(target: OpenTarget, stream: Uint8Array, policy: Partial<ApplyPolicy> = {}) {
  const env = quietSurroundings();
  const options = {
    ...{ what: 'stream', target, isSession: false },
    policy: { ...DEFAULT_POLICY, ...policy },
  };
  const error = await receiveStream(sourceOf(stream), options, env, pool()).then(
    () => null,
    (thrown: unknown) => thrown as Error & { code: string },
  );
  return { code: error?.code ?? 'ok', said: [error?.message, ...env.notices].join('\n') };
}

/** A target that holds S1, and to which a stream that leads to S2 was cut after most of it. */
async function cutTarget() {
  const device = new MemoryDevice(patterned(SECTORS * SECTOR), '/dev/t');
  const target = openInMemory(device, folder);
  await target.record.write(EXACTLY_S1);
  const stream = await streamOf({ kind: 'changes', base: 'S1', result: 'S2' });
  const cut = await apply(target, stream.subarray(0, stream.length - 1024));
  expect(cut).toEqual({ code: 'TRUNCATED', said: expect.stringMatching(/half-written/) as string });
  expect(device.bytes).not.toBeBytes(BASE);
  return { device, target, left: Buffer.from(device.bytes) };
}
