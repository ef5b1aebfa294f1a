import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openArchive } from '../../src/archive/archive.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { runSender } from '../../src/session/sender.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { altered, changesOf, CHUNK, type SourceParts, volumeOf } from '../support/change-source.js';
import type { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 200;
const CHANGED = [5, 100, 101];
const SOMEONE = expect.stringMatching(/someone wrote to it/) as string;
const TABLE = { id: 'LVM-S', entries: 9 };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-doubt-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function origin(): MemoryDevice {
  const volume = volumeOf(CHUNKS, 1);
  for (const chunk of CHANGED) volumeOf(1, 2).bytes.copy(volume.bytes, chunk * CHUNK);
  return volume;
}

function source(parts: SourceParts = {}): ChangeSource {
  const usual = altered(changesOf(origin(), [CHANGED]), {
    facts: { result: 'RESULT' },
    volumes: { base: volumeOf(CHUNKS, 1) },
    watch: { tableOf: () => TABLE },
  });
  return altered(usual, parts);
}

let device: MemoryDevice;
let target: OpenTarget;
beforeEach(async () => {
  device = volumeOf(CHUNKS, 1);
  target = openInMemory(device, folder);
  await target.record.write({ is: 'exactly', identity: 'BASE', from: null });
});

/** Past the counts, which is what a write to the disk below is. */
function overwrite(chunk: number): void {
  device.bytes.fill('past the stamp', chunk * CHUNK + 512, chunk * CHUNK + 600);
}

describe('a target that was found to be written by someone', () => {
  beforeEach(async () => {
    overwrite(100);
    expect(await transfer(target)).toMatchObject({ mismatches: 1, suspect: SOMEONE });
  });

  it('stays in doubt when its record no longer fits', async () => {
    utimesSync(join(target.folder, 'stamp'), 1, 1);
    for (let run = 0; run < 2; run++) expect(await transfer(target)).toMatchObject({ suspect: SOMEONE });
  });

  it('stays in doubt when its record is gone, and when its state has no name', async () => {
    await target.record.remove();
    expect(await transfer(target)).toMatchObject({ suspect: SOMEONE });
    const nameless = source({ facts: { result: null } });
    expect(await transfer(target, { from: nameless })).toMatchObject({ suspect: SOMEONE });
    expect(await transfer(target)).toMatchObject({ suspect: SOMEONE });
  });

  it('is sure again once all of it was copied', async () => {
    const everything = { facts: { base: null, scope: 'full' }, watch: { tableOf: () => null } } as const;
    expect(await transfer(target, { from: source(everything) })).toMatchObject({ suspect: null });
    expect(await transfer(target)).toMatchObject({ suspect: null });
    expect(await target.record.suspicion()).toBeNull();
  });
});

describe('a target that is recorded to hold the result, and holds old bytes', () => {
  beforeEach(async () => {
    expect(await transfer(target)).toMatchObject({ suspect: null });
    volumeOf(CHUNKS, 1).bytes.copy(device.bytes, 100 * CHUNK, 100 * CHUNK, 102 * CHUNK);
  });

  it('was taken back by someone, which puts the rest in doubt', async () => {
    const snapback = join(target.folder, 'reverted');
    const why = expect.stringMatching(
      /1 of the replaced blocks held the old bytes, although its record/,
    ) as string;
    expect(await transfer(target, { snapback })).toMatchObject({ suspect: why });
    expect((await target.record.read()).holds).toMatchObject({ is: 'exactly', believed: why });
    expect((await openArchive(snapback)).header).toMatchObject({ result: null });
  });

  it('has no complete round of audits', async () => {
    expect(await transfer(target, { audit: 100 })).toMatchObject({ suspect: SOMEONE });
  });
});

it('the snapback of a run whose audit found foreign bytes leads to no name', async () => {
  await transfer(target);
  const live = changesOf(origin(), [CHANGED, []], true);
  let reads = 0;
  const readChanges = async () => {
    reads += 1;
    // when the sample has been looked at
    if (reads === 2) overwrite(50);
    return await live.watch.readChanges();
  };
  const tableOf = () => ({ ...TABLE, entries: 10 });
  const from = source({ facts: { live: true, result: 'LATER' }, watch: { readChanges, tableOf } });
  const snapback = join(target.folder, 'stray');
  const why = expect.stringMatching(/1 of the audited pieces outside the changes/) as string;
  expect(await transfer(target, { from, audit: 100, snapback })).toMatchObject({ suspect: why });
  expect((await openArchive(snapback)).header).toMatchObject({ result: null });
});

it('a stopped volume that someone writes to while it is sent leads to no name', async () => {
  let looks = 0;
  const isConsistent = () => Promise.resolve(looks++ === 0);
  const dataProof = () => Promise.resolve(null);
  const from = source({ watch: { isConsistent, dataProof, tableOf: () => null } });
  expect(await transfer(target, { from })).toMatchObject({ consistent: false });
  expect((await target.record.read()).holds).toMatchObject({ is: 'since', identity: 'BASE' });
});

it('an impossible audit is refused before anything is written', async () => {
  const before = Buffer.from(device.bytes);
  const from = source({ volumes: { base: null, unchanged: null } });
  await expect(transfer(target, { from, audit: 5 })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(/--audit: what did not change cannot be read here/) as string,
  });
  expect(device.bytes).toBeBytes(before);
  expect((await target.record.read()).holds).toEqual({ is: 'exactly', identity: 'BASE', from: null });
});

async function transfer(
  target: OpenTarget,
  {
    from = source(),
    audit,
    ...policy
  }: { from?: ChangeSource; audit?: number; snapback?: string; forceBase?: true } = {},
) {
  const env = quietSurroundings();
  const whole = { ...DEFAULT_POLICY, ...policy };
  const { far } = startLocalReceiver(() => Promise.resolve(target), whole, env);
  const options = { proofs: true, ...(audit === undefined ? {} : { audit }) };
  return await runSender(far, from, options, env);
}
