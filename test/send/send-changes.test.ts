import { describe, expect, it } from 'vitest';
import { eachItem } from '../../src/stream/batches/batch.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { SnapshotError, TruncatedStreamError } from '../../src/errors.js';
import { pipeTo, sendChanges } from '../../src/send/send-changes.js';
import { asBlock, type Block } from '../../src/stream/block.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { openIncomingStream } from '../../src/stream/incoming-stream.js';
import { altered, changesOf, CHUNK, volumeOf } from '../support/change-source.js';
import { collectingSink, pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

async function send(source: ChangeSource) {
  const sink = collectingSink();
  const env = { ...quietSurroundings(), lend: pool() };
  const summary = await sendChanges(source, pipeTo(new FrameWriter(sink)), { proofs: true }, env);
  return { summary, stream: sink.bytes() };
}

/** Where the blocks of a stream lie, a list for each pass. */
async function passesOf(stream: Uint8Array): Promise<number[][]> {
  const passes: number[][] = [[]];
  const incoming = await openIncomingStream(sourceOf(stream), pool(), 'stream');
  for await (const item of eachItem(incoming.blocks)) {
    if (item.kind === 'next-pass') passes.push([]);
    const block = asBlock(item);
    if (block !== null) passes.at(-1)?.push(...chunksOf(block));
  }
  return passes;
}

function chunksOf(item: Block): number[] {
  if (item.kind === 'data') item.data.release();
  return Array.from({ length: item.length / CHUNK }, (_, i) => item.offset / CHUNK + i);
}

describe('sending changes', () => {
  it('says in its header what the stream is', async () => {
    const { stream, summary } = await send(changesOf(volumeOf(10, 1), [[1, 2, 7]]));
    const { header } = await openIncomingStream(sourceOf(stream), pool(), 'stream');
    expect(header).toEqual({
      kind: 'changes',
      volumeSize: 10 * CHUNK,
      blockSize: CHUNK,
      base: 'BASE',
      result: null,
      expectedBytes: 3 * CHUNK,
      table: { id: 'BASE', entries: 3 },
      sample: { changed: 0, unchanged: 0 },
      names: { source: 'vg/snap', origin: 'vg-vm' },
      host: 'test-host',
      time: '2026-01-02T03:04:05.000Z',
      writer: 'lvmsync 0.0.0-test',
    });
    expect(summary).toEqual({
      tableBytes: 3 * CHUNK,
      changedBytes: 3 * CHUNK,
      resumedBytes: 0,
      blocks: 2,
      volumeSize: 10 * CHUNK,
      consistent: true,
    });
  });

  it('sends zeroes as such', async () => {
    const volume = volumeOf(10, 1);
    volume.bytes.fill(0, 4 * CHUNK, 6 * CHUNK);
    const { stream } = await send(changesOf(volume, [[4, 5]]));
    expect(stream.length).toBeLessThan(CHUNK);
    expect(await passesOf(stream)).toEqual([[4, 5]]);
  });

  it('sends nothing but a whole stream when nothing changed', async () => {
    const { stream, summary } = await send(changesOf(volumeOf(10, 1), [[]]));
    expect(await passesOf(stream)).toEqual([[]]);
    expect(summary.changedBytes).toBe(0);
  });

  it('reads a live origin’s table again after the data, until nothing new shows', async () => {
    const { stream, summary } = await send(changesOf(volumeOf(10, 1), [[5], [2], []], true));
    expect(await passesOf(stream)).toEqual([[5], [2]]);
    expect([summary.tableBytes, summary.consistent]).toEqual([2 * CHUNK, false]);
  });

  it('stops after three passes, and never calls that consistent', async () => {
    const changes = changesOf(volumeOf(10, 1), [[5], [2], [9], [1]], true);
    const source = altered(changes, { watch: { isConsistent: () => Promise.resolve(true) } });
    const { stream, summary } = await send(source);
    expect(await passesOf(stream)).toEqual([[5], [2], [9]]);
    expect(summary.consistent).toBe(false);
  });

  it('does not read it again where nobody can write', async () => {
    const { stream } = await send(changesOf(volumeOf(10, 1), [[5], [2]]));
    expect(await passesOf(stream)).toEqual([[5]]);
  });

  it.each([false, true])(
    'leaves no end frame when the snapshot overflowed meanwhile (live: %s)',
    async (live) => {
      const source = changesOf(volumeOf(10, 1), [[5]], live);
      const overflowed = () => Promise.reject(new SnapshotError('vg/snap', 'invalid'));
      let reads = 0;
      const failing = altered(source, {
        watch: {
          readChanges: () => (reads++ === 0 ? source.watch.readChanges() : overflowed()),
          checkValid: overflowed,
        },
      });
      const sink = collectingSink();
      const env = { ...quietSurroundings(), lend: pool() };
      const sending = sendChanges(failing, pipeTo(new FrameWriter(sink)), { proofs: true }, env);
      await expect(sending).rejects.toThrow(SnapshotError);
      await expect(passesOf(sink.bytes())).rejects.toThrow(TruncatedStreamError);
    },
  );
});
