import { describe, expect, it } from 'vitest';
import { eachItem } from '../../src/stream/batches/batch.js';
import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import type { ChangeSource, SourceVolumes } from '../../src/changes/change-source.js';
import { pipeTo, sendChanges } from '../../src/send/send-changes.js';
import type { StreamItem } from '../../src/stream/block.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { openIncomingStream } from '../../src/stream/incoming-stream.js';
import { altered, changesOf, CHUNK, trackingOf, volumeOf } from '../support/change-source.js';
import type { MemoryDevice } from '../support/memory-device.js';
import { collectingSink, pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

function setOf(chunks: readonly number[]): ChunkSet {
  const set = new ChunkSet();
  for (const chunk of chunks) set.add(chunk);
  return set;
}

/** A volume of which some changed chunks are not mapped any more. */
function sourceWith(
  volume: MemoryDevice,
  changed: readonly number[],
  unmapped: readonly number[],
  volumes: Partial<SourceVolumes> = {},
): ChangeSource {
  const changes = new ChangeSet(trackingOf(CHUNK, volume.size), setOf(changed), setOf(unmapped));
  const watch = { readChanges: () => Promise.resolve(changes) };
  return altered(changesOf(volume, []), { volumes, watch });
}

async function itemsOf(source: ChangeSource): Promise<{ items: StreamItem[]; sampled: number }> {
  const sink = collectingSink();
  const env = { ...quietSurroundings(), lend: pool() };
  await sendChanges(source, pipeTo(new FrameWriter(sink)), { proofs: true }, env);
  const { header, blocks } = await openIncomingStream(sourceOf(sink.bytes()), pool(), 'stream');
  const items: StreamItem[] = [];
  for await (const item of eachItem(blocks)) {
    if (item.kind === 'data') item.data.release();
    items.push(item);
  }
  const { changed, unchanged } = header?.sample ?? { changed: 0, unchanged: 0 };
  return { items: items.slice(changed + unchanged), sampled: unchanged };
}

const placesOf = (items: readonly StreamItem[]) =>
  items.map((item) =>
    'offset' in item ? [item.kind, item.offset / CHUNK, item.length / CHUNK] : [item.kind],
  );

describe('what was discarded', () => {
  it('goes out as such, in its place, unread and unproved; the rest is read and proved', async () => {
    const volume = volumeOf(12, 1);
    const source = sourceWith(volume, [0, 1, 3, 4, 5, 9, 11], [0, 2, 4, 5, 11], {
      base: volumeOf(12, 0),
    });
    const { items } = await itemsOf(source);
    expect(placesOf(items)).toEqual([
      ['discard', 0, 1],
      ['proof', 1, 1],
      ['data', 1, 1],
      ['proof', 3, 1],
      ['data', 3, 1],
      ['discard', 4, 2],
      ['proof', 9, 1],
      ['data', 9, 1],
      ['discard', 11, 1],
    ]);
    // 2 lies between two neighbours that are read in one go
    expect(volume.calls.filter((call) => call.startsWith('read')).sort()).toEqual(
      [`read ${CHUNK}+${3 * CHUNK}`, `read ${9 * CHUNK}+${CHUNK}`].sort(),
    );
  });

  it('goes out in one piece, however long', async () => {
    const all = Array.from({ length: 600 }, (_, chunk) => chunk);
    const { items } = await itemsOf(sourceWith(volumeOf(600, 1), all, all));
    expect(placesOf(items)).toEqual([['discard', 0, 600]]);
  });
});

describe('a base that cannot be read', () => {
  it('is sampled where nothing changed, if that can be read elsewhere, and not proved', async () => {
    const volume = volumeOf(64, 1);
    const source = sourceWith(volume, [3], [], { unchanged: volume });
    const { items, sampled } = await itemsOf(source);
    expect(placesOf(items)).toEqual([['data', 3, 1]]);
    expect(sampled).toBe(63);
  });
});
