import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import { type BlockBatch, ENTRY } from '../stream/batches/batch.js';
import type { StreamHeader } from '../stream/stream-header.js';

/** The length of a header in which all known images have their mark. Bytes. */
const HEADER_LENGTH = 512;

/**
 * The marks of images that are not raw disks, as qemu-img makes them; that of the older VMDK from QEMU's documentation.
 */
const MARKS: readonly (readonly [kind: string, offset: number, mark: string])[] = [
  ['qcow2', 0, 'QFI\xfb'],
  ['VMDK', 0, 'KDMV'],
  ['VMDK', 0, 'COWD'],
  ['VMDK', 0, '# Disk DescriptorFile'],
  ['VHDX', 0, 'vhdxfile'],
  ['VHD', 0, 'conectix'],
  ['VDI', 64, '\x7f\x10\xda\xbe'],
  ['QED', 0, 'QED\0'],
  ['Parallels', 0, 'WithoutFreeSpace'],
  ['Parallels', 0, 'WithouFreSpacExt'],
];

/** The kind of image that these bytes begin; null: a raw disk. */
export function containerKindOf(bytes: Uint8Array): string | null {
  const text = Buffer.from(bytes.subarray(0, HEADER_LENGTH)).toString('latin1');
  return MARKS.find(([, offset, mark]) => text.startsWith(mark, offset))?.[0] ?? null;
}

/**
 * Keeps a volume's bytes from overwriting the header of an image file that contains a volume: they belong inside the
 * image, and would destroy it. A volume may itself begin with such an image, and may be copied over one of the same
 * kind.
 */
export class ContainerGuard {
  private constructor(private readonly device: BlockDevice) {}

  /** Null if a stream starts from a named state: other checks prove that the target holds it. */
  static for(device: BlockDevice, header: StreamHeader | null): ContainerGuard | null {
    const isNamed = header?.kind === 'undo' || (header?.kind === 'changes' && header.base !== null);
    return isNamed ? null : new ContainerGuard(device);
  }

  /** Checks the blocks of a batch before they are written. Throws UnsafeTargetError, DeviceError. */
  async check(batch: BlockBatch): Promise<void> {
    for (let entry = batch.first; entry < batch.count; entry++) {
      if (batch.isBlockAt(entry) && batch.offsetAt(entry) === 0) await this.checkBeginning(batch, entry);
    }
  }

  private async checkBeginning(batch: BlockBatch, entry: number): Promise<void> {
    const { device } = this;
    const header = Buffer.alloc(Math.min(HEADER_LENGTH, device.size));
    await device.readAt(header, 0);
    const there = containerKindOf(header);
    const coming = batch.kindAt(entry) === ENTRY.data ? containerKindOf(batch.bytesAt(entry)) : null;
    if (there === null || there === coming) return;
    const what = coming === null ? 'raw bytes' : `a ${coming} image`;
    throw new UnsafeTargetError(
      device.path,
      `it begins with the header of a ${there} image, and ${what} would overwrite the image file, not the disk in it: ` +
        `convert it first (qemu-img convert -O raw), or use a device that shows the disk in it (qemu-nbd); ` +
        `if the image is no longer needed, wipe its header: dd if=/dev/zero of=TARGET bs=512 count=1 conv=notrunc`,
    );
  }
}
