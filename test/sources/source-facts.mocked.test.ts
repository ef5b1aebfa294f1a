import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import type { ChangeSource, SourceFacts } from '../../src/changes/change-source.js';
import type { DmSnapshot } from '../../src/snapshots/snapshot.js';
import type { ThinVolume } from '../../src/snapshots/thin-volume.js';
import { openSource } from '../../src/sources/open-source.js';
import { openWhole, sourceOfVolume } from '../../src/sources/open-whole.js';
import { altered, CHUNK, trackingOf } from '../support/change-source.js';
import { quietSurroundings } from '../support/surroundings.js';
import { makeStore } from '../support/synthetic-store.js';

/*
 * A host with LVM: the volume vg/vm (253:0), in use, with the read-only snapshots vg/first (253:1) and vg/later (253:2);
 * and the thin volume vg/thin (253:5) with the snapshot vg/frozen (253:6), both read-only. Files stand in for the devices.
 */
const place = vi.hoisted(() => ({ folder: '' }));
const found = vi.hoisted(() => {
  const classic = { size: 8 * 4096, origin: '253:0', originName: 'vg-vm', cow: '253:9' } as const;
  const thin = { size: 8 * 4096, externalOrigin: null } as const;
  const lvm = { group: 'vg', poolName: 'vg/pool' };
  return {
    snapshots: [
      { ...classic, name: 'vg/first', uuid: 'LVM-first', number: '253:1' },
      { ...classic, name: 'vg/later', uuid: 'LVM-later', number: '253:2' },
    ] satisfies DmSnapshot[],
    thins: [
      {
        ...{ ...thin, name: 'vg/thin', uuid: 'LVM-thin', deviceId: 1 },
        active: { number: '253:5', pool: '253:4' },
        lvm: { ...lvm, fullName: 'vg/thin', origin: null },
      },
      {
        ...{ ...thin, name: 'vg/frozen', uuid: 'LVM-frozen', deviceId: 2 },
        active: { number: '253:6', pool: '253:4' },
        lvm: { ...lvm, fullName: 'vg/frozen', origin: 'vg/thin' },
      },
    ] satisfies ThinVolume[],
  };
});
vi.mock('../../src/lvm/device-node.js', async (importOriginal) => ({
  ...(await importOriginal<typeof import('../../src/lvm/device-node.js')>()),
  nodeOf: (number: string) => Promise.resolve(join(place.folder, number)),
  findDeviceNumber: (_spawner: unknown, name: string) =>
    Promise.resolve(found.snapshots.find((each) => each.name === name)?.number),
}));
vi.mock('../../src/device/device-facts.js', async (importOriginal) => ({
  ...(await importOriginal<typeof import('../../src/device/device-facts.js')>()),
  isReadOnly: (number: string) => Promise.resolve(number !== '253:0'),
}));
vi.mock('../../src/snapshots/live-watch.js', () => ({
  LiveWatch: { begin: () => Promise.resolve({ wasOpen: true }) },
}));
vi.mock('../../src/snapshots/snapshot.js', () => ({
  findSnapshot: (_spawner: unknown, name: string) =>
    Promise.resolve(found.snapshots.find((each) => each.name === name)),
  checkSnapshotStatus: () => Promise.resolve(),
}));
vi.mock('../../src/snapshots/thin-volume.js', () => ({
  findThinVolume: (_spawner: unknown, name: string) =>
    Promise.resolve(found.thins.find((each) => each.name === name) ?? null),
}));
vi.mock('../../src/snapshots/thin-pool.js', () => ({
  findThinPool: () => Promise.resolve({ dmName: 'vg-pool-tpool', chunkSize: 4096 }),
  readPoolStatus: () => Promise.resolve({}),
}));
vi.mock('../../src/snapshots/thin-tools.js', () => ({
  findThinDelta: () => Promise.resolve({ version: '1.1.0' }),
}));
vi.mock('../../src/snapshots/temporary-snapshot.js', () => ({ removeLeftOvers: () => Promise.resolve() }));
vi.mock('../../src/snapshots/fill-level.js', () => ({
  readStoreLevel: () => Promise.resolve(null),
  readPoolLevels: () => Promise.resolve([]),
}));

const env = quietSurroundings();
const at = (name: string) => join(place.folder, name);
const SIZE = 8 * CHUNK;
const NOTHING = new ChangeSet(trackingOf(CHUNK, SIZE), new ChunkSet());

beforeAll(() => {
  place.folder = mkdtempSync(join(tmpdir(), 'lvmsync-source-facts-'));
  const base = Buffer.alloc(SIZE, 'base ');
  for (const number of [0, 1, 2, 5, 6]) writeFileSync(at(`253:${number}`), base);
  const store = { chunkSectors: CHUNK / 512, exceptions: [{ oldChunk: 2 }], base };
  writeFileSync(at('253:9'), makeStore(store));
});
afterAll(() => {
  rmSync(place.folder, { recursive: true });
});

/** What can cross to another thread, and is there what it was here. */
type Plain = string | number | boolean | null | undefined | readonly Plain[];

/** The compiler refuses this where a fact is more than plain data. */
function asPlain(facts: { readonly [Fact in keyof SourceFacts]: Plain }): typeof facts {
  return facts;
}

const snapshot = (name: string, dataSource?: string) =>
  openSource(env, { kind: 'snapshot', name, ...(dataSource === undefined ? {} : { dataSource }) });
const whole = async (goal: Pick<SourceFacts, 'scope' | 'result'>) => {
  const volume = await openWhole(at('253:0'), env);
  return altered(sourceOfVolume(volume, goal, NOTHING), { watch: { close: () => volume.watch.close() } });
};

it.each<[string, () => Promise<ChangeSource>, Partial<SourceFacts>]>([
  ['a snapshot', () => snapshot('vg/first'), { base: 'LVM-first', result: null, live: true }],
  [
    'a snapshot and a later one',
    () => snapshot('vg/first', 'vg/later'),
    { origin: 'vg-vm', base: 'LVM-first', result: 'LVM-later', isBaseReadOnly: true, live: false },
  ],
  [
    'files',
    () => openSource(env, { kind: 'files', cow: at('253:9'), origin: at('253:0') }),
    { name: expect.stringMatching(/253:9$/) as string, base: null, volumeSize: SIZE, live: false },
  ],
  [
    'a thin snapshot',
    () => snapshot('vg/frozen'),
    { origin: 'vg/thin', base: 'LVM-frozen', result: 'LVM-thin', forgetsDiscarded: true },
  ],
  ['all of a volume', () => whole({ scope: 'full', result: 'LVM-vm' }), { scope: 'full', base: null }],
  ['what was found to differ', () => whole({ scope: 'compared', result: null }), { scope: 'compared' }],
  ['what differs of a part', () => whole({ result: null }), { base: null, result: null }],
])('the facts of %s can go to another thread', async (_what, open, expected) => {
  const { facts, watch } = await open();
  try {
    expect(structuredClone(asPlain(facts))).toEqual(facts);
    expect(facts).toMatchObject(expected);
  } finally {
    await watch.close();
  }
});

it('what differs in a volume is in no table, even if a snapshot’s table showed where to look', async () => {
  const { volumes, watch } = await snapshot('vg/first');
  try {
    expect(watch.tableOf?.(NOTHING)).toEqual({ id: 'LVM-first', entries: 0 });
    const volume = { name: 'vg/vm', device: volumes.data, paths: [], watch };
    const repair = sourceOfVolume(volume, { result: null }, NOTHING);
    expect(repair.watch.tableOf?.(NOTHING) ?? null).toBeNull();
    expect(await repair.watch.readChanges()).toBe(NOTHING);
  } finally {
    await watch.close();
  }
});
