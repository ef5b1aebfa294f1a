import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { altered, changesOf, trackingOf } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';

export const SECTOR = 512;
/** In what the model counts: the smallest chunk, and what changes are compared in. Bytes. */
export const UNIT = 4096;
export const UNITS = 64;
export const SIZE = UNIT * UNITS;
/** In what stretches of an audit are counted; on volumes that are not as small it is 1 MiB. */
export const STRETCH_UNITS = 4;

/** What a unit holds: 0 is all zeroes; of 2 and 3, of 4 and 5, one sector differs. */
export type Fill = number;

/** A write to a volume: a unit, and what it holds from then on. */
export type UnitWrite = readonly [unit: number, fill: Fill];

/** Any bytes of a unit. */
export function unitBytes(unit: number, fill: Fill): Buffer {
  const bytes = Buffer.alloc(UNIT);
  if (fill === 0) return bytes;
  for (let sector = 0; sector < UNIT / SECTOR; sector++) {
    const shown = sector === unit % 8 ? fill : Math.floor(fill / 2) * 2;
    bytes.fill(`${shown} in sector ${sector} of ${unit}; `, sector * SECTOR, (sector + 1) * SECTOR);
  }
  return bytes;
}

/** Which of a volume's units are meant, one by one. */
export type Units = readonly boolean[];

export const NO_UNITS: Units = Array.from({ length: UNITS }, () => false);
export const ALL_UNITS: Units = Array.from({ length: UNITS }, () => true);

/** A volume that is written to, and the snapshots that were made of each of its states. */
export class SourceVolume {
  /** The bytes of each state, the first to the latest. */
  readonly states: Buffer[];
  /** Which units were written from the state before to this one, in order. */
  private readonly written: (readonly number[])[] = [[]];

  constructor(first: readonly UnitWrite[]) {
    this.states = [written(Buffer.alloc(SIZE), first)];
  }

  get latest(): number {
    return this.states.length - 1;
  }

  /** Any state, by a number that may be too large for it. */
  pick(number: number): number {
    return number % this.states.length;
  }

  state(index: number): Buffer {
    const state = this.states[index];
    if (state === undefined) throw new Error(`no state ${index}`);
    return state;
  }

  write(writes: readonly UnitWrite[]): void {
    this.states.push(written(Buffer.from(this.state(this.latest)), writes));
    this.written.push(writes.map(([unit]) => unit));
  }

  /** The chunks that the store of a state's snapshot names, in the order in which they were first written. */
  tableOf(from: number, upTo = this.latest): number[] {
    const { size } = chunkOf(from);
    const units = this.written.slice(from + 1, upTo + 1).flat();
    return [...new Set(units.map((unit) => Math.floor((unit * UNIT) / size)))];
  }

  /** The units of those chunks. */
  changedUnits(from: number, upTo = this.latest): Units {
    const { size } = chunkOf(from);
    const chunks = new Set(this.tableOf(from, upTo));
    return ALL_UNITS.map((_, unit) => chunks.has(Math.floor((unit * UNIT) / size)));
  }
}

/** The chunks of a state's snapshot: of every third they are larger. Bytes. */
export function chunkOf(state: number): { readonly size: number } {
  return { size: state % 3 === 2 ? 4 * UNIT : UNIT };
}

function written(bytes: Buffer, writes: readonly UnitWrite[]): Buffer {
  for (const [unit, fill] of writes) unitBytes(unit, fill).copy(bytes, unit * UNIT);
  return bytes;
}

/** Of one length, as LVM's are: a state may also be named by the beginning of its name. */
export const nameOf = (state: number) => `S${String(state).padStart(3, '0')}`;

/** Where the changes since a snapshot lead: to a later snapshot, to the volume itself, or to it while it is written. */
export type SendGoal =
  | { readonly kind: 'snapshot'; readonly state: number }
  | { readonly kind: 'stopped' }
  | { readonly kind: 'live'; readonly writes: readonly UnitWrite[]; readonly isNamed: boolean };

/** What a stopped volume's state is called: another name than that of a snapshot of it. */
export const stoppedName = (state: number) => `stopped-of-S${state}`;

/** A snapshot as LVM would show it, with the changes since. A live one is written to by others after its table was read. */
export function snapshotSource(volume: SourceVolume, from: number, goal: SendGoal): ChangeSource {
  const to = goal.kind === 'snapshot' ? goal.state : volume.latest;
  const data = new MemoryDevice(volume.state(to), '/dev/new');
  const result = goal.kind === 'snapshot' ? nameOf(to) : stoppedName(to);
  let upTo = volume.latest;
  let isWritten = false;
  const readChanges = (most = Infinity) => {
    const chunks = new ChunkSet();
    for (const chunk of volume.tableOf(from, upTo).slice(0, most)) chunks.add(chunk);
    if (goal.kind === 'live' && !isWritten) {
      isWritten = true;
      volume.write(goal.writes);
      upTo = volume.latest;
      // the first chunk has been read by then, the others not
      setImmediate(() => volume.state(upTo).copy(data.bytes));
    }
    return Promise.resolve(new ChangeSet(trackingOf(chunkOf(from).size, SIZE), chunks));
  };
  return altered(changesOf(data, [], goal.kind !== 'snapshot'), {
    facts: {
      name: `vg/${nameOf(from)}`,
      base: nameOf(from),
      result: goal.kind === 'live' && !goal.isNamed ? null : result,
      isBaseReadOnly: true,
    },
    volumes: { base: new MemoryDevice(volume.state(from), '/dev/old') },
    watch: {
      readChanges,
      tableOf: ({ chunks: { count: entries } }) => ({ id: nameOf(from), entries }),
      dataProof: () => Promise.resolve(goal.kind === 'live' ? null : `read-only ${result}`),
      isConsistent: () => Promise.resolve(goal.kind !== 'live' || !isWritten),
    },
  });
}

/** All of a state as a copy sends it, or what of it differs from what a target holds, as a scan does. */
export function wholeSource(volume: SourceVolume, state: number, held: Buffer | null): ChangeSource {
  const data = new MemoryDevice(volume.state(state), '/dev/new');
  const chunks = new ChunkSet();
  for (let unit = 0; unit < UNITS; unit++) {
    const [from, to] = [unit * UNIT, (unit + 1) * UNIT];
    if (held?.subarray(from, to).equals(data.bytes.subarray(from, to)) !== true) chunks.add(unit);
  }
  const changes = new ChangeSet(trackingOf(UNIT, SIZE), chunks);
  return altered(changesOf(data, []), {
    facts: { base: null, result: nameOf(state), scope: held === null ? 'full' : 'compared' },
    volumes: { unchanged: held === null ? null : data },
    watch: {
      readChanges: () => Promise.resolve(changes),
      dataProof: () => Promise.resolve(`read-only ${nameOf(state)}`),
    },
  });
}
