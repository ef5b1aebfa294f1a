import type { DeviceNumber } from '../device/device-facts.js';
import type { TargetDevice } from './open-target.js';

/**
 * A target that was made just now: it knows whether anything was written to it. Where it reads as zeroes by itself,
 * none are written behind all that was, so that what is a hole at the source stays one here.
 */
export class FreshDevice implements TargetDevice {
  hasWritten = false;
  /** Nothing was written from here on. */
  private end = 0;

  /** @param readsAsZeroes whether all of it surely reads as zeroes until it is written */
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
