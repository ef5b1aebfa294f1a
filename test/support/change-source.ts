import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { MemoryDevice } from './memory-device.js';

export const CHUNK = 4096;

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
    return Promise.resolve(new ChangeSet(CHUNK, volume.size, volume.size, soFar));
  };
  return {
    name: 'vg/snap',
    origin: 'vg-vm',
    base: 'BASE',
    result: null,
    volumeSize: volume.size,
    data: volume,
    baseVolume: null,
    unchangedVolume: null,
    isBaseReadOnly: false,
    paths: [],
    live,
    readChanges,
    tableOf: ({ chunks: { count: entries } }) => ({ id: 'BASE', entries }),
    dataProof: () => Promise.resolve(null),
    checkValid: () => Promise.resolve(),
    isConsistent: () => Promise.resolve(!live),
    close: () => Promise.resolve(),
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
