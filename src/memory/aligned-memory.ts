import type { LendBuffer, LentBuffer } from '../bytes/byte-channel.js';

/** Direct I/O needs page-aligned memory. A plain Buffer is not aligned; WebAssembly's memory is. */
const PAGE = 4096;
const WASM_PAGE = 65_536;
/** How much to allocate at once, because each memory reserves 10 GB of address space. Bytes. */
const MEMORY_SIZE = 32 * 1024 * 1024;

/**
 * The newest memory. Its size is fixed, because growing a memory detaches the buffers in use. It is not shared, because
 * V8 copies shared memory byte by byte. The system provides its pages only when they are touched.
 */
let memory = new ArrayBuffer(0);
let used = 0;
const ownBuffers = new WeakSet<ArrayBufferLike>();
const freeBySize = new Map<number, Buffer[]>();

/** Memory at a page boundary, of `length` bytes. Give it back with `freeAligned`. */
export function allocateAligned(length: number): Buffer {
  const size = roundUp(length, PAGE);
  const free = freeBySize.get(size)?.pop();
  if (free !== undefined) return Buffer.from(free.buffer, free.byteOffset, length);
  if (used + size > memory.byteLength) takeMemory(Math.max(size, MEMORY_SIZE));
  used += size;
  return Buffer.from(memory, used - size, length);
}

/** Gives back what `allocateAligned` gave; the buffer must not be used afterwards. */
export function freeAligned(bytes: Buffer): void {
  const size = roundUp(bytes.length, PAGE);
  const free = freeBySize.get(size);
  if (free === undefined) freeBySize.set(size, [bytes]);
  else free.push(bytes);
}

function takeMemory(size: number): void {
  const pages = Math.ceil(size / WASM_PAGE);
  memory = new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer;
  ownBuffers.add(memory);
  used = 0;
}

/** Whether direct I/O can use these bytes as they are. */
export function isAligned(bytes: Uint8Array): boolean {
  return ownBuffers.has(bytes.buffer) && bytes.byteOffset % PAGE === 0;
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

export function roundDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

const LARGEST_LOAN = 1024 * 1024;

/**
 * The bytes of a pool that a loan of `length` bytes, at most 1 MiB, uses: a power of two, so that buffers can be
 * reused.
 */
export function loanSize(length: number): number {
  return Math.max(PAGE, 2 ** Math.ceil(Math.log2(length)));
}

/**
 * Lends aligned buffers up to a number of bytes in total. A request beyond that waits its turn. This limits the memory
 * of a transfer.
 */
export class BufferPool {
  private lentBytes = 0;
  private readonly queue: { size: number; start: () => void }[] = [];

  constructor(private readonly limit: number) {}

  /** Lends `length` bytes, at most 1 MiB. */
  readonly lend: LendBuffer = async (length) => {
    const size = loanSize(length);
    // A length below zero has no size, and would make buffers that are lent later lie on each other.
    const isLendable = length >= 0 && size <= Math.min(LARGEST_LOAN, this.limit);
    if (!isLendable) throw new RangeError(`a pool cannot lend ${length} bytes`);
    if (this.queue.length > 0 || this.lentBytes + size > this.limit) {
      await new Promise<void>((start) => this.queue.push({ size, start }));
    } else {
      this.lentBytes += size;
    }
    return this.takeOut(size, length);
  };

  private takeOut(size: number, length: number): LentBuffer {
    const whole = allocateAligned(size);
    let out = true;
    return {
      bytes: whole.subarray(0, length),
      release: () => {
        if (!out) return;
        out = false;
        freeAligned(whole);
        this.lentBytes -= size;
        this.startWaiting();
      },
    };
  }

  private startWaiting(): void {
    for (let next = this.queue[0]; next && this.lentBytes + next.size <= this.limit; next = this.queue[0]) {
      this.queue.shift();
      this.lentBytes += next.size;
      next.start();
    }
  }
}
