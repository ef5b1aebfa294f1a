import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { nextStretch } from '../../src/send/audit.js';
import type { TargetState } from '../../src/targets/state-record.js';
import { altered, changesOf, CHUNK, type SourceParts } from '../support/change-source.js';
import { AuditScene, MIB } from '../support/scenes/audit-scene.js';

const SIZE = 5 * MIB;
const PER_MIB = MIB / CHUNK;
/** One of the chunks of the MiB of this number, which no test changes at the source. */
const chunkIn = (mib: number) => mib * PER_MIB + 77;

let parent = '';
let scene: AuditScene;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-audit-'));
});
afterAll(() => {
  rmSync(parent, { recursive: true });
});
beforeEach(() => {
  scene = new AuditScene(parent, SIZE);
});

const BELIEVED: TargetState = { is: 'exactly', identity: 'S0', from: null, believed: 'a gap' };
const SURE: TargetState = { is: 'exactly', identity: 'S0', from: null };

/** A run of a fifth, of a change, which must succeed; what is proved then, and what is recorded. */
async function auditFifth(source: SourceParts = {}) {
  scene.change(3);
  const { error, summary } = await scene.run({ audit: 20, source });
  expect(error).toBeNull();
  scene.expectEqual();
  return { ...summary, holds: (await scene.known()).holds };
}

/** Someone writes past the stamp when the sample has been looked at, so that the audit alone can find it. */
const overwritten = (chunk: number): SourceParts => ({
  watch: {
    checkValid: () => {
      scene.overwrite(chunk, false);
      return Promise.resolve();
    },
  },
});

const isSure = async () => {
  const { holds } = await scene.known();
  return holds?.is === 'exactly' && holds.identity === scene.resultName && holds.believed === undefined;
};

describe('audits of a fifth', () => {
  it('go on where the last one ended, and have proved all in five runs from one snapshot', async () => {
    await scene.record(SURE);
    for (let run = 1; run < 5; run++) {
      const { verified } = await auditFifth();
      expect(verified).toEqual({ bytes: run * MIB, since: '2026-03-01T01:00:00.000Z' });
    }
    expect((await auditFifth()).verified).toEqual({ bytes: SIZE, since: '2026-03-01T01:00:00.000Z' });
    // all of it stays proved since then, until another round has come around
    for (let run = 0; run < 4; run++) {
      expect((await auditFifth()).verified).toEqual({ bytes: SIZE, since: '2026-03-01T01:00:00.000Z' });
    }
    expect((await auditFifth()).verified).toEqual({ bytes: SIZE, since: '2026-03-01T06:00:00.000Z' });
  });

  it('read what did not change, a stretch of it, and nothing twice', async () => {
    await scene.record(SURE);
    await auditFifth();
    scene.target.calls.length = 0;
    await auditFifth();
    const reads = scene.target.calls.filter((call) => call.startsWith('read')).map((call) => call.slice(5));
    expect(reads).toContain(`${MIB}+${MIB}`);
    const last = reads.map((read) => Number(read.split('+')[0])).filter((offset) => offset > 2 * MIB);
    // a sample looks at single blocks
    expect(reads.filter((read) => read.endsWith(`+${MIB}`))).toHaveLength(1);
    expect(last.length).toBeLessThan(200);
  });

  it.each([
    ['from one snapshot', false],
    ['each from the state that the last one led to', true],
  ])('make sure of what was believed, in the fifth run and not before: %s', async (_name, isChain) => {
    await scene.record(BELIEVED);
    for (let run = 1; run < 5; run++) {
      await auditFifth();
      expect(await isSure()).toBe(false);
      if (isChain) scene.takeSnapshot();
    }
    await auditFifth();
    expect(await isSure()).toBe(true);
  });

  it('of all of it make sure in one run, whatever was known before', async () => {
    scene.change(3);
    expect(await scene.run({ audit: 100 })).toMatchObject({ error: null });
    expect(await isSure()).toBe(true);
  });

  it('is kept through runs without one', async () => {
    await scene.record(BELIEVED);
    for (let run = 1; run < 5; run++) {
      await auditFifth();
      scene.change(9);
      const { summary } = await scene.run();
      expect(summary?.verified).toEqual({ bytes: run * MIB, since: '2026-03-01T01:00:00.000Z' });
    }
    await auditFifth();
    expect(await isSure()).toBe(true);
  });

  it('read the snapshot, as what did not change then changes meanwhile', async () => {
    await scene.record(SURE);
    const { now } = scene;
    // a writer overwrites all of it as soon as the table has been read for the last time
    const live = changesOf(now, [[3], []], true);
    let reads = 0;
    const readChanges = async () => {
      const changes = await live.watch.readChanges();
      reads += 1;
      if (reads === 2) now.bytes.fill('meanwhile ', chunkIn(0) * CHUNK);
      return changes;
    };
    scene.change(3);
    const source = altered(live, {
      facts: { base: 'S0' },
      volumes: { base: scene.base },
      watch: { readChanges },
    });
    const { error, summary } = await scene.run({ audit: 100, source });
    expect(error).toBeNull();
    expect(summary).toMatchObject({ mismatches: 0, verified: { bytes: SIZE } });
    expect((await scene.known()).holds).toMatchObject({ is: 'since', identity: 'S0' });
    expect((await scene.known()).holds?.believed).toBeUndefined();
  });
});

describe('an audited block that differs, although the record stands,', () => {
  it.each([
    ['sure', SURE],
    ['believed', BELIEVED],
  ])('is mended, and what was %s is believed from then on', async (_name, before) => {
    await scene.record(before);
    await auditFifth();
    scene.takeSnapshot();
    const { mismatches, verified, holds } = await auditFifth(overwritten(chunkIn(1)));
    expect(mismatches).toBe(1);
    expect(verified).toEqual({ bytes: 0, since: null });
    expect(holds).toMatchObject({
      believed: expect.stringMatching(
        /someone wrote to it: 1 of the audited pieces outside the changes/,
      ) as string,
      proved: { position: 2 * MIB, covered: 0, all: null },
    });
    // all of it must be proved anew, the first stretch as well
    for (let run = 0; run < 4; run++) {
      await auditFifth();
      expect(await isSure()).toBe(false);
    }
    await auditFifth();
    expect(await isSure()).toBe(true);
  });

  it('is so also where a second run from the same snapshot may find changed blocks changed', async () => {
    await scene.record(SURE);
    await auditFifth();
    await auditFifth();
    expect(await auditFifth(overwritten(chunkIn(2)))).toMatchObject({ mismatches: 1 });
    expect(await isSure()).toBe(false);
  });

  it('stops the run where it was told to', async () => {
    await scene.record(SURE);
    scene.change(3);
    const source = overwritten(chunkIn(0));
    const { error } = await scene.run({ audit: 20, source, policy: { stopOnMismatch: true } });
    expect(error).toMatchObject({ code: 'BASE_MISMATCH' });
  });
});

/** Three stretches are proved; then something happens; the other two do not make it sure. */
describe('a round is broken', () => {
  beforeEach(async () => {
    await scene.record(BELIEVED);
    for (let run = 0; run < 3; run++) await auditFifth();
  });

  /** Two more, with which the round would have been whole, and the three that are missing. */
  async function expectBroken(): Promise<void> {
    for (let run = 0; run < 2; run++) {
      await auditFifth();
      expect(await isSure()).toBe(false);
    }
    expect((await scene.known()).holds?.proved?.all).toBeNull();
    for (let run = 0; run < 3; run++) await auditFifth();
    expect(await isSure()).toBe(true);
  }

  it('not by runs alone', async () => {
    for (let run = 0; run < 2; run++) await auditFifth();
    expect(await isSure()).toBe(true);
  });

  it('by a write behind it that the stamp saw, and goes on where it was', async () => {
    scene.takeSnapshot();
    scene.touch();
    expect((await scene.known()).auditFrom).toBe(3 * MIB);
    const { verified } = await auditFifth();
    expect(verified?.bytes).toBe(MIB);
    expect((await scene.known()).holds?.proved?.position).toBe(4 * MIB);
    await auditFifth();
    expect(await isSure()).toBe(false);
    for (let run = 0; run < 3; run++) await auditFifth();
    expect(await isSure()).toBe(true);
  });

  it('by another boot', async () => {
    scene.changeNote('state.json', (note) => ({ ...note, stamp: 'sectors another-boot 253:7 9 4096' }));
    expect((await scene.known()).holds).toMatchObject({
      believed: 'a gap',
      proved: { covered: 0, all: null },
    });
    await expectBroken();
  });

  it('by a changed block that held what nobody of ours wrote', async () => {
    scene.takeSnapshot();
    scene.change(chunkIn(4));
    scene.overwrite(chunkIn(4), false);
    const { summary } = await scene.run({ audit: 20 });
    expect(summary).toMatchObject({ mismatches: 1, verified: { bytes: 0 } });
    await auditFifth();
    expect(await isSure()).toBe(false);
  });

  it('by a record that is gone, as with another state directory', async () => {
    scene.takeSnapshot();
    scene.changeNote('state.json', () => ({}));
    await auditFifth();
    expect((await scene.known()).holds?.proved).toMatchObject({ position: MIB, covered: MIB });
    await auditFifth();
    expect(await isSure()).toBe(false);
  });

  it('by a run that was killed and is taken back, while one that ended in order keeps it', async () => {
    const cut = async () => {
      scene.takeSnapshot();
      scene.change(chunkIn(4));
      scene.change(chunkIn(3));
      // all that changed is written by then
      const { error } = await scene.run({ audit: 20, source: { volumes: { base: scene.unauditable() } } });
      expect(error?.message).toMatch(/cannot be read|cut short|gave up/);
      expect(scene.hasNote('apply.json')).toBe(true);
    };
    await cut();
    await auditFifth();
    expect((await scene.known()).holds?.proved).toMatchObject({ covered: 4 * MIB });
    await cut();
    scene.changeNote('apply.json', ({ log, snapback, before, device }) => ({
      log,
      snapback,
      before,
      device,
    }));
    await auditFifth();
    expect((await scene.known()).holds?.proved).toMatchObject({ covered: MIB });
    expect(await isSure()).toBe(false);
  });

  it('by what was forced', async () => {
    scene.change(3);
    await scene.run({ audit: 20, policy: { forceBase: true } });
    expect((await scene.known()).holds?.proved).toMatchObject({ covered: MIB });
  });

  it('by a stream from a state that is not recorded', async () => {
    scene.takeSnapshot();
    scene.changeNote('state.json', (note) => ({ ...note, identity: 'stopped-1', from: null }));
    await auditFifth();
    expect((await scene.known()).holds?.proved).toMatchObject({ covered: MIB });
  });
});

describe('the next stretch', () => {
  it.each([
    [0, 5, 20 * MIB, { offset: 0, length: MIB }],
    [19 * MIB, 5, 20 * MIB, { offset: 19 * MIB, length: MIB }],
    [15 * MIB, 50, 20 * MIB, { offset: 15 * MIB, length: 5 * MIB }],
    [20 * MIB, 100, 20 * MIB, { offset: 0, length: 20 * MIB }],
    [0, 0.001, 20 * MIB, { offset: 0, length: MIB }],
    [5000, 100, 20 * MIB + 512, { offset: 0, length: 20 * MIB + 512 }],
  ])('behind %d, of %d percent of %d bytes', (from, percent, size, stretch) => {
    expect(nextStretch(from, percent, size)).toEqual(stretch);
  });

  it.each([1, 3, 5, 7, 33, 60, 100])('comes around in as few runs as %d percent say', (percent) => {
    const size = 1000 * MIB + 4096;
    let from = 0;
    let runs = 0;
    do {
      const { offset, length } = nextStretch(from, percent, size);
      expect(offset).toBe(from);
      from = (offset + length) % size;
      runs += 1;
    } while (from !== 0);
    expect(runs).toBeLessThanOrEqual(Math.ceil(100 / percent));
  });
});
