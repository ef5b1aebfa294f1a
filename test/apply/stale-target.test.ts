import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { openArchive } from '../../src/archive/archive.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { pipeTo, sendChanges } from '../../src/send/send-changes.js';
import { runSender } from '../../src/session/sender.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { altered, changesOf, CHUNK, volumeOf } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { collectingSink, pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

/** So few that the closer look takes in all of them. */
const CHUNKS = 1000;
const CHANGED = [5, 100, 101, 102, 900];
const DRY = { proofs: true, dryRun: true };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-stale-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The base, and in place of the changes the new state. */
function origin(): MemoryDevice {
  const volume = volumeOf(CHUNKS, 1);
  for (const chunk of CHANGED) volumeOf(1, 2).bytes.copy(volume.bytes, chunk * CHUNK);
  return volume;
}

function source(): ChangeSource {
  const parts = { facts: { result: 'RESULT' }, volumes: { base: volumeOf(CHUNKS, 1) } };
  return altered(changesOf(origin(), [CHANGED]), parts);
}

/** What a comparison of all of it found to differ: nothing. */
function scanned(): ChangeSource {
  const facts = { base: null, scope: 'compared', result: 'RESULT' } as const;
  return altered(changesOf(origin(), [[]]), { facts });
}

/** A target of which a record says what it holds; and then someone wrote. */
async function staleTarget(written: readonly number[]) {
  const device = volumeOf(CHUNKS, 1);
  const target = openInMemory(device, folder);
  await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
  for (const chunk of written) device.bytes.fill('someone else', chunk * CHUNK, (chunk + 1) * CHUNK);
  // what a device's count of writes is, are a file's times; this one no clock can be too coarse for
  utimesSync(join(target.folder, 'stamp'), 1, 1);
  return { device, target };
}

async function transfer(target: OpenTarget, policy = DEFAULT_POLICY, options = { ...DRY }, from = source()) {
  const env = quietSurroundings();
  const { far, outcome } = startLocalReceiver(() => Promise.resolve(target), policy, env);
  const summary = await runSender(far, from, options, env).catch((error: unknown) => error);
  return { summary, env, error: (await outcome).error };
}

describe('a target that someone wrote to since the record was made', () => {
  it('to a single unchanged block is refused, and so is the next run', async () => {
    const { device, target } = await staleTarget([500]);
    const before = Buffer.from(device.bytes);
    for (let run = 0; run < 2; run++) {
      const { error } = await transfer(target);
      expect(error).toMatchObject({ code: 'BASE_MISMATCH' });
      expect(error?.message).toMatch(
        /something else wrote to it \(.*: 1 of (995|128) blocks that did not change/,
      );
      expect(error?.message).toMatch(/nothing was written/);
      expect(device.bytes).toBeBytes(before);
    }
  });

  it('to a changed block only: the run says how much was compared, and what else to do', async () => {
    const { device, target } = await staleTarget([100]);
    const { summary, env } = await transfer(target);
    expect(summary).toMatchObject({ blocks: 3, mismatches: 1 });
    expect(device.bytes).toBeBytes(origin().bytes);
    expect(env.notices).toHaveLength(1);
    expect(env.notices[0]).toMatch(
      /someone wrote to it since lvmsync's last run.*: 995 of 995 blocks outside the changes were compared, all of them match; "lvmsync verify"/,
    );
  });

  it('is written anyway with --force=base, and the differences are counted', async () => {
    const { target } = await staleTarget([500]);
    const { summary, env } = await transfer(target, { ...DEFAULT_POLICY, forceBase: true });
    expect(summary).toMatchObject({ blocks: 3 });
    expect(env.notices.join()).toMatch(/outside the changes were compared, 1 differ;/);
  });

  it('is reported by a pipe and without proofs, too, although less or nothing is compared', async () => {
    for (const [proofs, compared] of [
      [true, /: 128 of 995 blocks outside/],
      [false, /: no block outside the changes was compared/],
    ] as const) {
      const { target } = await staleTarget([]);
      const sink = collectingSink();
      const env = quietSurroundings();
      const writer = new FrameWriter(sink);
      await sendChanges(source(), pipeTo(writer), { proofs }, { ...env, lend: pool() });
      const options = { what: 'stream', target, policy: DEFAULT_POLICY, isSession: false };
      await receiveStream(sourceOf(sink.bytes()), options, env, pool());
      expect(env.notices.join()).toMatch(compared);
    }
  });
});

it('a target that no one wrote to is not looked at more closely, and nothing is said', async () => {
  const target = openInMemory(volumeOf(CHUNKS, 1), folder);
  for (let run = 0; run < 2; run++) {
    const { summary, env } = await transfer(target);
    expect(summary).toMatchObject({ blocks: 3, mismatches: 0 });
    expect(env.notices).toEqual([]);
  }
});

it('a target whose changed block differs although its record is valid becomes only believed', async () => {
  const device = volumeOf(CHUNKS, 1);
  const target = openInMemory(device, folder);
  await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
  device.bytes.fill('past the stamp', 100 * CHUNK + 512, 100 * CHUNK + 600);
  const { summary } = await transfer(target);
  const why = expect.stringMatching(/someone wrote to it.*: 1 of the replaced blocks/) as string;
  expect(summary).toMatchObject({ mismatches: 1, suspect: why });
  expect(device.bytes).toBeBytes(origin().bytes);
  const believed = { is: 'exactly', identity: 'RESULT', believed: why };
  expect((await target.record.read()).holds).toMatchObject(believed);

  // Nothing more is found, and nobody has looked at the rest: until all of it was compared.
  const again = await transfer(target);
  expect(again.summary).toMatchObject({ mismatches: 0, suspect: why });
  const forced = await transfer(target, { ...DEFAULT_POLICY, forceBase: true });
  expect(forced.summary).toMatchObject({ mismatches: 0, suspect: null });
  expect((await target.record.read()).holds).toMatchObject(believed);
  const compared = await transfer(target, DEFAULT_POLICY, { ...DRY }, scanned());
  expect(compared.summary).toMatchObject({ mismatches: 0, suspect: null });
  expect((await target.record.read()).holds).toEqual({ is: 'exactly', identity: 'RESULT', from: null });
});

describe('what changes brought from their own base', () => {
  const table = { id: 'LVM-S', entries: 9 };
  const live = () => altered(source(), { facts: { result: null }, watch: { tableOf: () => table } });

  it('is expected by a second pass that lists all of it, and nothing is in doubt', async () => {
    const device = volumeOf(CHUNKS, 1);
    const target = openInMemory(device, folder);
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    // A live pass, which read a chunk between two of its writes.
    volumeOf(1, 3).bytes.copy(device.bytes, 100 * CHUNK);
    await target.record.write({
      is: 'since',
      identity: 'BASE',
      from: 'BASE',
      table: { ...table, entries: 7 },
    });
    const { summary } = await transfer(target, DEFAULT_POLICY, undefined, live());
    expect(summary).toMatchObject({ mismatches: 0, suspect: null });
    expect(await target.record.suspicion()).toBeNull();
  });

  it('is all there after a run that ended: whatever is neither old nor new then was written by someone else', async () => {
    const device = volumeOf(CHUNKS, 1);
    const target = openInMemory(device, folder);
    const ended = altered(source(), { watch: { tableOf: () => table } });
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    expect((await transfer(target, DEFAULT_POLICY, undefined, ended)).summary).toMatchObject({
      suspect: null,
    });
    expect((await transfer(target, DEFAULT_POLICY, undefined, ended)).summary).toMatchObject({
      suspect: null,
    });
    device.bytes.fill('past the stamp', 100 * CHUNK + 512, 100 * CHUNK + 600);
    const snapback = join(target.folder, 'undo');
    const found = await transfer(target, { ...DEFAULT_POLICY, snapback }, undefined, ended);
    expect(found.summary).toMatchObject({
      suspect: expect.stringMatching(/someone wrote to it/) as string,
    });
    // Its old bytes are the target's own, which are no state that has a name.
    expect((await openArchive(snapback)).header).toMatchObject({ base: 'RESULT', result: null });
  });

  it('that is already there although the base is recorded was written past the record', async () => {
    const target = openInMemory(origin(), folder);
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    const { summary } = await transfer(target);
    expect(summary).toMatchObject({
      mismatches: 0,
      suspect: expect.stringMatching(/held the new bytes, although its record/) as string,
    });
  });
});

it('a target whose block differs although it is recorded to hold the result says so, too', async () => {
  const device = origin();
  const target = openInMemory(device, folder);
  await target.record.write({ is: 'exactly', identity: 'RESULT', from: 'BASE' });
  device.bytes.fill('past the stamp', 100 * CHUNK + 512, 100 * CHUNK + 600);
  const { summary } = await transfer(target);
  expect(summary).toMatchObject({ mismatches: 1 });
  expect(device.bytes).toBeBytes(origin().bytes);
  expect((await target.record.read()).holds).toMatchObject({
    ...{ is: 'exactly', identity: 'RESULT' },
    believed: expect.stringMatching(/someone wrote to it/) as string,
  });
});

describe('a target that was recorded in another boot, or by an earlier lvmsync,', () => {
  /** Then nothing tells whether someone wrote; these chunks were. */
  async function unsureTarget(written: readonly number[]) {
    const device = volumeOf(CHUNKS, 1);
    const target = openInMemory(device, folder);
    await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
    const record = join(target.folder, 'state.json');
    writeFileSync(record, readFileSync(record, 'utf8').replace('"stamp":"file ', '"stamp":"'));
    for (const chunk of written) device.bytes.fill('someone else', chunk * CHUNK, (chunk + 1) * CHUNK);
    return { device, target };
  }

  it('is reported in one line, and what it then holds is believed', async () => {
    const { device, target } = await unsureTarget([]);
    const { summary, env } = await transfer(target);
    expect(summary).toMatchObject({ blocks: 3, mismatches: 0 });
    expect(device.bytes).toBeBytes(origin().bytes);
    expect(env.notices).toEqual([
      expect.stringMatching(
        /its state was recorded before the last boot.*, so lvmsync cannot tell whether someone wrote to it since\. .*"lvmsync verify" compares the rest$/,
      ),
    ]);
    expect((await target.record.read()).holds).toMatchObject({
      ...{ is: 'exactly', identity: 'RESULT' },
      believed: expect.stringMatching(/before the last boot/) as string,
    });
  });

  it('is looked at as closely as a target that someone wrote to', async () => {
    // A sample of 128 blocks would miss some of these; the closer look misses nothing here.
    for (const chunk of [200, 350, 500, 650, 800]) {
      const { device, target } = await unsureTarget([chunk]);
      const before = Buffer.from(device.bytes);
      const { error } = await transfer(target);
      expect(error).toMatchObject({ code: 'BASE_MISMATCH' });
      expect(error?.message).toMatch(/1 of (995|128) blocks that did not change/);
      expect(device.bytes).toBeBytes(before);
    }
  });
});

it('a run that is cut before it wrote anything leaves the record as it was', async () => {
  const sink = collectingSink();
  const env = quietSurroundings();
  await sendChanges(source(), pipeTo(new FrameWriter(sink)), DRY, { ...env, lend: pool() });
  const cut = sink.bytes().subarray(0, sink.bytes().length - 5 * CHUNK);
  for (const written of [false, true]) {
    const target = openInMemory(volumeOf(CHUNKS, 1), folder);
    const state = { is: 'exactly', identity: 'BASE', from: null } as const;
    await target.record.write(state);
    if (written) utimesSync(join(target.folder, 'stamp'), 1, 1);
    const options = { what: 'stream', target, policy: DEFAULT_POLICY, isSession: false };
    const receiving = receiveStream(sourceOf(cut), options, quietSurroundings(), pool());
    await expect(receiving).rejects.toMatchObject({ code: 'TRUNCATED' });
    expect(await target.record.read()).toMatchObject({ holds: written ? null : state, isStale: written });
  }
});
