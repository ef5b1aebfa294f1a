/** A binary heap of small numbers: the one that comes before all others is on top. */
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
