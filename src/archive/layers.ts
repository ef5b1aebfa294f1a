import { endOf, type Extent } from '../bytes/extent.js';
import { ExtentTable } from './extent-table.js';
import { overlay } from './overlay.js';
import { firstEndingBehind, touches } from './proofs.js';

/**
 * Layers of extents, each an ascending table that is laid on top of the others: what is visible from above. Hidden
 * parts are dropped as layers are added, so memory depends on what is visible, and time on the extents, not on the
 * number of layers.
 */
export class Layers {
  /** Each lies on top of the ones before it, and is at most half as large as the one right below it. */
  private readonly tables: ExtentTable[] = [];
  private count = 0;

  /** Lays a table on top. The number of the layer becomes the source of its extents. */
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

  /** Whether any layer has a part of an extent. */
  touch(extent: Extent): boolean {
    return this.tables.some((table) => touches(table, extent));
  }

  /**
   * What is visible within these extents, which ascend and do not overlap; each piece lies in one of them. The time
   * depends on the parts of the tables within them, not on the whole tables.
   */
  seenIn(extents: Iterable<Extent>): ExtentTable {
    return overlay(
      this.tables.map((table) => whole(partIn(table, extents))),
      sourceAsItIs,
    );
  }

  /** What is visible: ascending, without overlaps; for each byte, the last added layer that has it. */
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
