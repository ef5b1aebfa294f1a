import { closeSync, constants, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { seededBytes } from '../kernel/support/device-bytes.js';
import { fileSink, scatter } from './stores.js';

export const VOLUME_GIB = [1, 4] as const;
const BLOCK = 65_536;
const BLOCKS = 4096;
export const CHANGED_BYTES = BLOCKS * BLOCK;
const PIECE = 2 ** 20;

/** One round on one volume. Seconds from the start of lvmsync. */
export interface RollbackSeconds {
  readonly gib: number;
  /** Until `restore --instant` had returned: the volume reads as it was. */
  readonly instant: number;
  /** Until the kernel had copied all of it. */
  readonly merged: number;
  /** Until a plain restore had returned. */
  readonly plain: number;
}

type State = 'old' | 'new';

/** A volume of zeroes, but for blocks anywhere in it, which are others in its old state than in its new one. */
export class ScatteredVolume {
  readonly size: number;
  /** Ascending. */
  private readonly blocks: readonly number[];

  constructor(
    readonly path: string,
    readonly gib: number,
  ) {
    this.size = gib * 2 ** 30;
    const bits = Math.log2(this.size / BLOCK);
    this.blocks = Array.from({ length: BLOCKS }, (_, index) => scatter(index, bits)).sort((a, b) => a - b);
  }

  /** An archive that leads from the new state back to the old one. */
  async writeUndo(file: string): Promise<void> {
    const handle = openSync(file, 'wx');
    const writer = new FrameWriter(fileSink(handle), { indexed: true });
    await writer.start({
      ...{ kind: 'undo', volumeSize: this.size, blockSize: 4096, expectedBytes: CHANGED_BYTES },
      ...{ base: 'new', result: 'old', names: {} },
      ...{ host: '', time: '2026-01-02T03:04:05Z', writer: 'bench' },
    });
    for (const block of this.blocks) await writer.data(block * BLOCK, bytesOf('old', block));
    await writer.finish();
    closeSync(handle);
  }

  /** Brings it to its new state, and that onto the device. */
  change(): void {
    const device = openSync(this.path, 'r+');
    for (const block of this.blocks) writeSync(device, bytesOf('new', block), 0, BLOCK, block * BLOCK);
    fdatasyncSync(device);
    closeSync(device);
  }

  /** Throws unless it reads as in its old state, past the page cache, in one MiB of so many. */
  expectOld(step: number): void {
    const device = openSync(this.path, constants.O_RDONLY | constants.O_DIRECT);
    // Direct I/O wants memory that begins with a page; new memory for each piece would be slow in the guest.
    const found = Buffer.from(new WebAssembly.Memory({ initial: 16, maximum: 16 }).buffer);
    const expected = Buffer.alloc(PIECE);
    for (let offset = 0; offset < this.size; offset += step * PIECE) {
      this.fillOld(expected, offset);
      if (readSync(device, found, 0, PIECE, offset) !== PIECE || !found.equals(expected)) {
        throw new Error(`${this.path} is not in its old state at offset ${offset}`);
      }
    }
    closeSync(device);
  }

  private fillOld(piece: Buffer, offset: number): void {
    piece.fill(0);
    for (const block of this.blocks) {
      const at = block * BLOCK - offset;
      if (at >= 0 && at < PIECE) bytesOf('old', block).copy(piece, at);
    }
  }
}

function bytesOf(state: State, block: number): Buffer {
  return seededBytes(`${state} ${block}`, BLOCK);
}
