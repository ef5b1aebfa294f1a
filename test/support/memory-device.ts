import type { BlockDevice } from '../../src/device/block-device.js';
import { DeviceError } from '../../src/errors.js';

/** What shall go wrong, and where. Bytes. */
export interface Faults {
  /** Reads and writes that touch this byte fail with EIO. */
  badByte?: number;
  /** Every flush fails. */
  flushFails?: boolean;
  /** Called when a write of these bytes is about to be done. */
  beforeWrite?: (offset: number, length: number) => void;
}

/** A device in memory that remembers what was done to it and fails where told to. */
export class MemoryDevice implements BlockDevice {
  readonly bytes: Buffer;
  /** What was called, in order: `read 0+512`, `write 512+512`, `flush`, `refresh`, `close`. */
  readonly calls: string[] = [];

  constructor(
    contents: number | Uint8Array,
    readonly path = 'memory',
    readonly faults: Faults = {},
  ) {
    this.bytes = typeof contents === 'number' ? Buffer.alloc(contents) : Buffer.from(contents);
  }

  get size(): number {
    return this.bytes.length;
  }

  async readAt(bytes: Uint8Array, offset: number): Promise<void> {
    await this.enter('read', offset, bytes.length);
    bytes.set(this.bytes.subarray(offset, offset + bytes.length));
  }

  async writeAt(bytes: Uint8Array, offset: number): Promise<void> {
    await this.enter('write', offset, bytes.length);
    this.faults.beforeWrite?.(offset, bytes.length);
    this.bytes.set(bytes, offset);
  }

  async writePiecesAt(pieces: readonly Uint8Array[], offset: number): Promise<void> {
    await this.writeAt(Buffer.concat(pieces), offset);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.enter('write', offset, length);
    this.faults.beforeWrite?.(offset, length);
    this.bytes.fill(0, offset, offset + length);
  }

  async discard(offset: number, length: number): Promise<void> {
    await this.enter('discard', offset, length);
    this.bytes.fill(0, offset, offset + length);
  }

  async flush(): Promise<void> {
    await Promise.resolve();
    this.calls.push('flush');
    if (this.faults.flushFails === true)
      throw new DeviceError(this.path, 'flush', null, new Error('EIO: i/o error'));
  }

  async refresh(): Promise<void> {
    await Promise.resolve();
    this.calls.push('refresh');
  }

  async close(): Promise<void> {
    await Promise.resolve();
    this.calls.push('close');
  }

  private async enter(
    operation: 'read' | 'write' | 'discard',
    offset: number,
    length: number,
  ): Promise<void> {
    await Promise.resolve();
    this.calls.push(`${operation} ${offset}+${length}`);
    const { badByte } = this.faults;
    const isBad = badByte !== undefined && badByte >= offset && badByte < offset + length;
    if (isBad || offset + length > this.size) {
      throw new DeviceError(
        this.path,
        operation === 'discard' ? 'write' : operation,
        offset,
        new Error('EIO: i/o error'),
      );
    }
  }
}
