import type { DeviceNumber } from '../device/device-facts.js';
import type { TargetDevice } from './open-target.js';

/**
 * A target that was just created. It knows whether anything was written to it. If new parts read as zeroes by
 * themselves, zeroes after the last written byte are not written, so that a hole of the source stays a hole here.
 */
export class FreshDevice implements TargetDevice {
  hasWritten = false;
  /** Nothing was written at or after this offset. Bytes. */
  private end = 0;

  /** @param readsAsZeroes whether every part of it surely reads as zeroes until it is written */
  constructor(
    private readonly device: TargetDevice,
    private readonly readsAsZeroes: boolean,
  ) {}

  get path(): string {
    return this.device.path;
  }

  get size(): number {
    return this.device.size;
  }

  get number(): DeviceNumber | null {
    return this.device.number;
  }

  readAt(bytes: Uint8Array, offset: number): Promise<void> {
    return this.device.readAt(bytes, offset);
  }

  writeAt(bytes: Uint8Array, offset: number): Promise<void> {
    this.note(offset, bytes.length);
    return this.device.writeAt(bytes, offset);
  }

  writePiecesAt(pieces: readonly Uint8Array[], offset: number): Promise<void> {
    this.note(
      offset,
      pieces.reduce((sum, { length }) => sum + length, 0),
    );
    return this.device.writePiecesAt(pieces, offset);
  }

  async zero(offset: number, length: number): Promise<void> {
    if (this.isZeroAlready(offset)) return;
    this.note(offset, length);
    await this.device.zero(offset, length);
  }

  async discard(offset: number, length: number): Promise<void> {
    if (this.isZeroAlready(offset)) return;
    this.note(offset, length);
    await this.device.discard(offset, length);
  }

  flush(): Promise<void> {
    return this.device.flush();
  }

  refresh(): Promise<void> {
    return this.device.refresh();
  }

  close(): Promise<void> {
    return this.device.close();
  }

  private isZeroAlready(offset: number): boolean {
    return this.readsAsZeroes && offset >= this.end;
  }

  private note(offset: number, length: number): void {
    this.hasWritten = true;
    this.end = Math.max(this.end, offset + length);
  }
}
