import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { UnsafeTargetError } from '../../src/errors.js';
import type { StreamHeader } from '../../src/stream/stream-header.js';
import { containerKindOf, ContainerGuard } from '../../src/targets/container-image.js';
import { batchOf } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';

/** As qemu-img makes them. */
const HEADERS = path.join(import.meta.dirname, 'container-headers');
const headerOf = (name: string) => readFileSync(path.join(HEADERS, name));

const KINDS: Readonly<Record<string, string>> = {
  ...{ qcow: 'qcow2', qcow2: 'qcow2', 'qcow2-old': 'qcow2', qed: 'QED', parallels: 'Parallels' },
  ...{ vmdk: 'VMDK', 'vmdk-stream': 'VMDK', 'vmdk-flat': 'VMDK', vhdx: 'VHDX', vpc: 'VHD', vdi: 'VDI' },
};

describe('what an image begins with', () => {
  const names = readdirSync(HEADERS).filter((name) => name !== 'README.md');

  it.each(names)('of %s is recognized', (name) => {
    expect(containerKindOf(headerOf(name))).toBe(KINDS[name]);
  });

  it('is not seen at the beginning of a disk, or of an empty file', () => {
    const disk = Buffer.alloc(512);
    disk.write('GRUB', 0x180);
    disk.set([0x55, 0xaa], 510);
    expect([disk, Buffer.alloc(512), Buffer.alloc(0), Buffer.from('QFI')].map(containerKindOf)).toEqual([
      ...[null, null, null, null],
    ]);
  });
});

describe('over an image', () => {
  const headers = {
    copy: { kind: 'full', base: null },
    changes: { kind: 'changes', base: 'BASE' },
    nameless: { kind: 'changes', base: null },
    undo: { kind: 'undo', base: null },
  } as const;
  const write = async (there: Buffer, coming: Buffer | null, offset = 0, header = headers.copy as object) => {
    const device = new MemoryDevice(Buffer.concat([there, Buffer.alloc(8192)]), '/srv/vm.qcow2');
    const guard = ContainerGuard.for(device, header as StreamHeader);
    const data = { bytes: coming ?? Buffer.alloc(0), release: () => undefined };
    const block = { offset, length: coming?.length ?? 4096 };
    await guard?.check(
      batchOf(coming === null ? { kind: 'discard', ...block } : { kind: 'data', ...block, data }),
    );
  };
  const raw = Buffer.alloc(4096, 'raw');

  it('raw bytes are refused, and so is another kind of image', async () => {
    for (const coming of [raw, null]) {
      await expect(write(headerOf('qcow2'), coming)).rejects.toThrow(UnsafeTargetError);
      await expect(write(headerOf('qcow2'), coming)).rejects.toThrow(
        /vm.qcow2: it begins with the header of a qcow2 image, and raw bytes would overwrite the image file.*qemu-img convert -O raw/,
      );
    }
    await expect(write(headerOf('vdi'), headerOf('qcow2'))).rejects.toThrow(
      /begins with the header of a VDI image, and a qcow2 image would overwrite/,
    );
    await expect(write(headerOf('vdi'), raw, 0, headers.nameless)).rejects.toThrow(UnsafeTargetError);
  });

  it('the same kind of image may be written, and anything after the header', async () => {
    await expect(write(headerOf('qcow2'), headerOf('qcow2-old'))).resolves.toBeUndefined();
    await expect(write(headerOf('qcow2'), raw, 4096)).resolves.toBeUndefined();
    await expect(write(Buffer.alloc(512), headerOf('qcow2'))).resolves.toBeUndefined();
    await expect(write(raw, null)).resolves.toBeUndefined();
    await expect(write(Buffer.alloc(100), raw)).resolves.toBeUndefined();
  });

  it('changes from a named state are written, because the target is proved to be in that state', async () => {
    await expect(write(headerOf('qcow2'), raw, 0, headers.changes)).resolves.toBeUndefined();
    await expect(write(headerOf('qcow2'), raw, 0, headers.undo)).resolves.toBeUndefined();
  });
});
