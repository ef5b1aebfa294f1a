import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet, type Tracking } from '../../src/changes/change-set.js';
import type {
  ChangeSource,
  SourceFacts,
  SourceVolumes,
  SourceWatch,
} from '../../src/changes/change-source.js';
import { MemoryDevice } from './memory-device.js';

export const CHUNK = 4096;

/** What takes the place of a source's own parts. */
export interface SourceParts {
  readonly facts?: Partial<SourceFacts>;
  readonly volumes?: Partial<SourceVolumes>;
  readonly watch?: Partial<SourceWatch>;
}

/** A source of which some parts are others. */
export function altered(source: ChangeSource, { facts, volumes, watch }: SourceParts): ChangeSource {
  return {
    facts: { ...source.facts, ...facts },
    volumes: { ...source.volumes, ...volumes },
    watch: { ...source.watch, ...watch },
  };
}

/** What tracks all of a volume, in chunks. Bytes. */
export function trackingOf(granularity: number, size: number): Tracking {
  return { granularity, trackedSize: size, volumeSize: size };
}

/** Changes of chunks of 4 KiB, as a table that grows by one list each time it is read. */
export function changesOf(
  volume: MemoryDevice,
  tables: readonly (readonly number[])[],
  live = false,
): ChangeSource {
  const chunks = new ChunkSet();
  let reads = 0;
  const readChanges = () => {
    for (const chunk of tables[reads] ?? []) chunks.add(chunk);
    reads += 1;
    const soFar = new ChunkSet();
    for (const { offset, length } of chunks.runs()) for (let i = 0; i < length; i++) soFar.add(offset + i);
    return Promise.resolve(new ChangeSet(trackingOf(CHUNK, volume.size), soFar));
  };
  return {
    facts: {
      name: 'vg/snap',
      origin: 'vg-vm',
      base: 'BASE',
      result: null,
      volumeSize: volume.size,
      isBaseReadOnly: false,
      paths: [],
      live,
    },
    volumes: { data: volume, base: null, unchanged: null },
    watch: {
      readChanges,
      tableOf: ({ chunks: { count: entries } }) => ({ id: 'BASE', entries }),
      dataProof: () => Promise.resolve(null),
      checkValid: () => Promise.resolve(),
      isConsistent: () => Promise.resolve(!live),
      close: () => Promise.resolve(),
    },
  };
}

/** A volume whose every sector says where it is and which state it belongs to. */
export function volumeOf(chunks: number, state: number): MemoryDevice {
  const bytes = Buffer.alloc(chunks * CHUNK);
  for (let sector = 0; sector < bytes.length / 512; sector++) {
    bytes.fill(`state ${state} sector ${sector} `, sector * 512, (sector + 1) * 512);
  }
  return new MemoryDevice(bytes, `volume-${state}`);
}
