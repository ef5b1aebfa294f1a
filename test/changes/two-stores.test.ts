import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkSet } from '../../src/bytes/chunk-set.js';
import { ChangeSet } from '../../src/changes/change-set.js';
import { TwoStores } from '../../src/changes/two-stores.js';
import { trackingOf } from '../support/change-source.js';

/** In the smallest chunk. */
const VOLUME = 64;
const UNIT = 512;

/** A snapshot as the kernel keeps it: of chunks that were written in it or in its origin, what they hold. */
class Snapshot {
  readonly table: number[] = [];
  private readonly kept = new Map<number, number[]>();

  constructor(
    private readonly origin: number[],
    readonly chunk: number,
  ) {}

  keep(block: number): void {
    const chunk = Math.floor(block / this.chunk);
    if (this.kept.has(chunk)) return;
    this.table.push(chunk);
    this.kept.set(chunk, this.origin.slice(chunk * this.chunk, (chunk + 1) * this.chunk));
  }

  write(block: number, value: number): void {
    this.keep(block);
    const kept = this.kept.get(Math.floor(block / this.chunk)) ?? [];
    kept[block % this.chunk] = value;
  }

  read(block: number): number | undefined {
    const kept = this.kept.get(Math.floor(block / this.chunk));
    return kept === undefined ? this.origin[block] : kept[block % this.chunk];
  }

  changes(most = Infinity): ChangeSet {
    const chunks = new ChunkSet();
    for (const chunk of this.table.slice(0, most)) chunks.add(chunk);
    return new ChangeSet(trackingOf(this.chunk * UNIT, VOLUME * UNIT), chunks);
  }
}

const block = fc.nat(VOLUME - 1);
const blocks = fc.array(block, { maxLength: 20 });
const chunkSize = fc.constantFrom(1, 4, 16);

describe('the changes between two snapshots', () => {
  it('are all that differs, whichever is older, whatever is written to the second or to the volume meanwhile', async () => {
    const writes = fc.record({ before: blocks, after: blocks, inSecond: blocks, meanwhile: blocks });
    await fc.assert(
      fc.asyncProperty(writes, chunkSize, chunkSize, fc.boolean(), async (written, one, other, isOlder) => {
        const origin = Array.from({ length: VOLUME }, (_, index) => index);
        const snapshots: Snapshot[] = [];
        let value = 1000;
        const change = (each: number) => {
          for (const snapshot of snapshots) snapshot.keep(each);
          origin[each] = value++;
        };
        const [first, second] = [new Snapshot(origin, one), new Snapshot(origin, other)];
        snapshots.push(isOlder ? second : first);
        written.before.forEach(change);
        snapshots.push(isOlder ? first : second);
        written.after.forEach(change);
        for (const each of written.inSecond) second.write(each, value++);

        const readSecond = () => {
          const changes = second.changes();
          written.meanwhile.forEach(change);
          return Promise.resolve(changes);
        };
        let judged = 0;
        const judgeMore = () => {
          judged += 1;
          return Promise.resolve();
        };
        const readFirst = (most?: number) => Promise.resolve(first.changes(most));
        const stores = new TwoStores(readFirst, readSecond, judgeMore);
        const changes = await stores.readChanges();
        for (let each = 0; each < VOLUME; each++) {
          if (!changes.chunks.has(Math.floor(each / one))) expect(second.read(each)).toBe(first.read(each));
        }
        // the same again, also by its count
        const runs = [...changes.chunks.runs()];
        expect([...(await stores.readChanges()).chunks.runs()]).toEqual(runs);
        const isUsual = !isOlder && written.inSecond.length === 0 && other <= one;
        expect(judged).toBeLessThanOrEqual(isUsual ? 0 : 1);
        expect([...(await stores.readChanges(changes.chunks.count)).chunks.runs()]).toEqual(runs);
      }),
    );
  });
});
