import { endOf, type Extent } from '../bytes/extent.js';
import { ExtentTable } from './extent-table.js';
import { overlay } from './overlay.js';
import { firstEndingBehind, touches } from './proofs.js';

/**
 * Layers that are laid on each other one after another, each of an ascending table: what is seen of them from above.
 * What lies hidden is dropped by and by: memory goes by what is seen, and time by the layers' extents, not by how many
 * layers there are.
 */
export class Layers {
  /** Each lies on those before it and is at most half as large as the one right below. */
  private readonly tables: ExtentTable[] = [];
  private count = 0;

  /** Lays a table on top. Its extents' source becomes the number of the layer. */
  add(table: ExtentTable): void {
    const layer = this.count++;
    let top = overlay([whole(table)], () => layer);
    for (let below = this.tables.at(-1); below !== undefined; below = this.tables.at(-1)) {
      if (below.count > 2 * top.count) break;
      this.tables.pop();
      top = overlay([whole(below), whole(top)], sourceAsItIs);
    }
    this.tables.push(top);
  }

  /** Whether any layer has some of an extent. */
  touch(extent: Extent): boolean {
    return this.tables.some((table) => touches(table, extent));
  }

  /**
   * What is seen within these extents, which ascend and do not overlap: each piece lies in one of them. Takes time by
   * what they have of each table, not by all that the tables have.
   */
  seenIn(extents: Iterable<Extent>): ExtentTable {
    return overlay(
      this.tables.map((table) => whole(partIn(table, extents))),
      sourceAsItIs,
    );
  }

  /** What is seen: ascending, without overlaps, of each byte the layer that was added last of those that have it. */
  seen(): ExtentTable {
    return overlay(this.tables.map(whole), sourceAsItIs);
  }
}

function partIn(table: ExtentTable, extents: Iterable<Extent>): ExtentTable {
  const part = new ExtentTable();
  for (const extent of extents) {
    const end = endOf(extent);
    for (let index = firstEndingBehind(table, extent.offset); table.offsetAt(index) < end; index++) {
      const { position, blockOffset, source } = table.at(index);
      const offset = Math.max(table.offsetAt(index), extent.offset);
      part.add({ offset, length: Math.min(table.endAt(index), end) - offset, position, blockOffset, source });
    }
  }
  return part;
}

function whole(table: ExtentTable) {
  return { table, from: 0, to: table.count };
}

function sourceAsItIs(_layer: number, source: number): number {
  return source;
}
