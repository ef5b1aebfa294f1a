import { writeFileSync } from 'node:fs';
import { run } from './run.js';

/** What a thin device maps: the volume's chunks, ascending, to the pool's. */
export type Mapping = ReadonlyMap<number, number>;

/** The size of a pool's chunk. Bytes. */
export const POOL_CHUNK = 64 * 1024;

/** Runs of chunks, each `[first of the volume, first of the pool, how many]`, as a mapping. */
export function mappingOf(...runs: readonly (readonly [number, number, number])[]): Mapping {
  return new Map(
    runs.flatMap(([volume, pool, count]) =>
      Array.from({ length: count }, (_, i): [number, number] => [volume + i, pool + i]),
    ),
  );
}

/**
 * Makes the metadata of a pool of so many chunks, by thin_restore, on a device or in a file that is large enough. The
 * thin devices in it are numbered from 1.
 */
export async function restoreMetadata(
  to: string,
  poolChunks: number,
  devices: readonly Mapping[],
): Promise<void> {
  const words = `version="2" data_block_size="${POOL_CHUNK / 512}" nr_data_blocks="${poolChunks}"`;
  const lines = [
    `<superblock uuid="" time="1" transaction="1" ${words}>`,
    ...devices.flatMap((mapping, i) => [
      `<device dev_id="${i + 1}" mapped_blocks="${mapping.size}" transaction="0" creation_time="0" snap_time="1">`,
      ...[...mapping].map(
        ([volume, pool]) => `<single_mapping origin_block="${volume}" data_block="${pool}" time="0"/>`,
      ),
      '</device>',
    ]),
    '</superblock>',
  ];
  const xml = '/run/thin-metadata.xml';
  writeFileSync(xml, `${lines.join('\n')}\n`);
  await run(['thin_restore', '-i', xml, '-o', to]);
}
