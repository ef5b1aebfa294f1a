import type { BlockDevice } from '../device/block-device.js';
import { UnsafeTargetError } from '../errors.js';
import type { Block } from '../stream/block.js';
import type { StreamHeader } from '../stream/stream-header.js';

/** Where an image of virtual machines has its mark, at most. Bytes. */
const HEADER_LENGTH = 512;

/** What images begin with that are no raw disks, as qemu-img makes them; the older VMDK's by QEMU's documentation. */
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

/** What kind of image some bytes begin, or null of a raw disk. */
export function containerKindOf(bytes: Uint8Array): string | null {
  const text = Buffer.from(bytes.subarray(0, HEADER_LENGTH)).toString('latin1');
  return MARKS.find(([, offset, mark]) => text.startsWith(mark, offset))?.[0] ?? null;
}

/**
 * Keeps the bytes of a volume from being written over the header of an image that holds a volume: they belong into it,
 * and what is left of both is of no use. A volume may well hold such an image, and is copied to its like.
 */
export class ContainerGuard {
  private constructor(private readonly device: BlockDevice) {}

  /** Null where a stream leads from a state that has a name: that it meets that is proved otherwise. */
  static for(device: BlockDevice, header: StreamHeader | null): ContainerGuard | null {
    const isNamed = header?.kind === 'undo' || (header?.kind === 'changes' && header.base !== null);
    return isNamed ? null : new ContainerGuard(device);
  }

  /** Looks at a block that is to be written. Throws UnsafeTargetError; DeviceError. */
  async check(block: Block): Promise<void> {
    if (block.offset > 0) return;
    const { device } = this;
    const header = Buffer.alloc(Math.min(HEADER_LENGTH, device.size));
    await device.readAt(header, 0);
    const there = containerKindOf(header);
    const coming = block.kind === 'data' ? containerKindOf(block.data.bytes) : null;
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
