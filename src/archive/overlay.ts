import { ExtentTable } from './extent-table.js';
/** A binary heap of small numbers: the first one in order is on top. */
export class NumberHeap {
  private readonly items: number[] = [];

  /** @param isBefore whether the first number comes before the second */
  constructor(private readonly isBefore: (left: number, right: number) => boolean) {}

  get top(): number | undefined {
    return this.items[0];
  }

  push(item: number): void {
    const { items } = this;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] ?? 0;
      if (!this.isBefore(item, above)) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const { items } = this;
    const top = items[0];
    const last = items.pop();
    if (last !== undefined && items.length > 0) this.sink(last);
    return top;
  }

  private sink(item: number): void {
    const { items } = this;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const left = items[child];
      if (left === undefined) break;
      const right = items[child + 1];
      if (right !== undefined && this.isBefore(right, left)) child += 1;
      const next = items[child] ?? 0;
      if (!this.isBefore(next, item)) break;
      items[at] = next;
      at = child;
    }
    items[at] = item;
  }
}

/** Part of a table whose extents ascend and do not overlap: the extents from `from` to before `to`. */
export interface Layer {
  readonly table: ExtentTable;
  readonly from: number;
  readonly to: number;
}

/**
 * What is visible from above when layers are stacked, each one on top of those before it: ascending extents that do
 * not overlap; for each byte the extent of the highest layer that has it.
 *
 * @param sourceOf the source to give to the extents of a layer
 */
export function overlay(
  layers: readonly Layer[],
  sourceOf: (layer: number, source: number) => number,
): ExtentTable {
  const seen = new ExtentTable();
  const stack = new Stack(layers);
  for (;;) {
    const piece = stack.next();
    if (piece === null) return seen;
    const { layer, index, offset, end } = piece;
    const extent = layers[layer]?.table.at(index);
    if (extent === undefined) throw new Error(`there is no layer ${layer}`);
    seen.add({ ...extent, offset, length: end - offset, source: sourceOf(layer, extent.source) });
  }
}

/** A visible piece: from `offset` to before `end`, of extent `index` of a layer. */
interface Piece {
  readonly layer: number;
  readonly index: number;
  readonly offset: number;
  readonly end: number;
}

/** Walks all layers at once, by offset. */
class Stack {
  /** For each layer, the extent that began last, and whether the layer is open. */
  private readonly current: Int32Array;
  private readonly isOpen: Uint8Array;
  /** Layers whose extents have begun, the highest on top; some may have ended already. */
  private readonly open = new NumberHeap((left, right) => left > right);
  /** Layers with extents to come, with the layer that comes next on top. */
  private readonly coming = new NumberHeap((left, right) => this.startOfNext(left) < this.startOfNext(right));
  private cursor = 0;

  constructor(private readonly layers: readonly Layer[]) {
    this.current = Int32Array.from(layers, ({ from }) => from - 1);
    this.isOpen = new Uint8Array(layers.length);
    layers.forEach(({ from, to }, layer) => {
      if (from < to) this.coming.push(layer);
    });
  }

  next(): Piece | null {
    let top = this.topOpen();
    while (top === null) {
      const layer = this.coming.pop();
      if (layer === undefined) return null;
      this.cursor = Math.max(this.cursor, this.startOfNext(layer));
      this.begin(layer);
      top = this.topOpen();
    }
    const end = this.endOf(top);
    // Up to the start of a higher layer.
    for (let layer = this.coming.top; layer !== undefined; layer = this.coming.top) {
      const start = this.startOfNext(layer);
      if (start >= end) break;
      const index = this.current[top] ?? 0;
      this.coming.pop();
      this.begin(layer);
      if (layer < top) continue;
      if (start > this.cursor) return this.take(top, index, start);
      return this.next();
    }
    return this.take(top, this.current[top] ?? 0, end);
  }

  private take(layer: number, index: number, end: number): Piece {
    const offset = this.cursor;
    this.cursor = end;
    return { layer, index, offset, end };
  }

  /** The highest layer with an extent at the cursor. */
  private topOpen(): number | null {
    for (let top = this.open.top; top !== undefined; top = this.open.top) {
      if (this.endOf(top) > this.cursor) return top;
      this.open.pop();
      this.isOpen[top] = 0;
    }
    return null;
  }

  private begin(layer: number): void {
    const index = (this.current[layer] ?? 0) + 1;
    this.current[layer] = index;
    if (this.isOpen[layer] === 0) {
      this.isOpen[layer] = 1;
      this.open.push(layer);
    }
    if (index + 1 < (this.layers[layer]?.to ?? 0)) this.coming.push(layer);
  }

  private startOfNext(layer: number): number {
    return this.layers[layer]?.table.offsetAt((this.current[layer] ?? 0) + 1) ?? Infinity;
  }

  private endOf(layer: number): number {
    return this.layers[layer]?.table.endAt(this.current[layer] ?? 0) ?? 0;
  }
}
