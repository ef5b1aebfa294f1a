import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

/** What a machine says of itself that has the disk 8:16: files of sysfs, where that disk lies, and kinds of file systems. */
const machine = vi.hoisted(() => ({
  files: new Map<string, string>(),
  folder: '',
  fileSystem: null as number | null,
}));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return {
    ...real,
    readFile: (file: string, ...rest: never[]) => {
      if (!file.startsWith('/sys/dev/block/8:16/')) return real.readFile(file, ...rest);
      const text = machine.files.get(path.basename(file));
      return text === undefined ? Promise.reject(new Error('ENOENT')) : Promise.resolve(text);
    },
    realpath: (file: string) =>
      file === '/sys/dev/block/8:16' ? Promise.resolve(machine.folder) : real.realpath(file),
    statfs: async (file: string) => {
      const found = await real.statfs(file);
      return machine.fileSystem === null ? found : Object.assign(found, { type: machine.fileSystem });
    },
  };
});
const { blindnessIn, compareStamps, fileStampOf, stillnessOf, writeStampOf } =
  await import('../../src/usage/write-stamp.js');
const { StateRecord } = await import('../../src/targets/state-record.js');

// /sys/block/dm-0/stat of Linux 7.2: after a write of 8 KiB, two fsync(2), a discard of 64 KiB, a read of 1 MiB.
const WRITTEN = '0 0 0 0 2 0 16 0 0 0 0 0 0 0 0 0 0';
const FLUSHED = '0 0 0 0 4 0 16 0 0 0 0 0 0 0 0 0 0';
const DISCARDED = '35 0 672 10 4 0 16 0 0 10 10 2 0 128 0 0 0';
const READ = '36 0 2720 10 4 0 16 0 0 10 10 2 0 128 0 0 0';

const LOCAL = '/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sdb';

beforeEach(() => {
  machine.folder = LOCAL;
  machine.files = new Map([
    ['stat', WRITTEN],
    ['diskseq', '9'],
    ['iostats', '1'],
  ]);
});
afterEach(() => {
  machine.fileSystem = null;
});

async function stampAt(stat: string): Promise<string> {
  machine.files.set('stat', stat);
  return await writeStampOf('8:16');
}

describe('a stamp of a disk', () => {
  it.each([
    ['a write', '0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0', WRITTEN, 'moved'],
    ['an empty flush', WRITTEN, FLUSHED, 'same'],
    ['a discard', FLUSHED, DISCARDED, 'moved'],
    ['a read', DISCARDED, READ, 'same'],
  ])('is as it should be after %s', async (_name, before, after, verdict) => {
    expect(compareStamps(await stampAt(before), await stampAt(after))).toBe(verdict);
  });

  it('that is local counts every write, so the record can name what the disk holds', async () => {
    expect(blindnessIn(await writeStampOf('8:16'))).toBeNull();
    expect(await stillnessOf('8:16')).not.toBeNull();
  });

  it.each([
    [
      'by iSCSI',
      '/sys/devices/platform/host3/session1/target3:0:0/3:0:0:0/block/sdb',
      /other hosts .*session1/,
    ],
    [
      'by Fibre Channel',
      '/sys/devices/pci0000:00/0000:00:03.0/host7/rport-7:0-0/target7:0:0/7:0:0:0/block/sdb',
      /rport-7/,
    ],
    ['by NVMe over a network', '/sys/devices/virtual/nvme-fabrics/ctl/nvme1/nvme1n1', /nvme-fabrics/],
    ['of the network block device', '/sys/devices/virtual/block/nbd0', /nbd0/],
    ['of Ceph', '/sys/devices/rbd/0/block/rbd0', /rbd0/],
    ['of DRBD', '/sys/devices/virtual/block/drbd1', /drbd1/],
    ['of ZFS, which counts nothing', '/sys/devices/virtual/block/zd16', /zd16/],
  ])('that comes %s is blind, so its state is never certain', async (_name, folder, why) => {
    machine.folder = folder;
    const stamp = await writeStampOf('8:16');
    expect(blindnessIn(stamp)).toMatch(why);
    expect(compareStamps(stamp, stamp)).toBe('unknown');
    expect(await stillnessOf('8:16')).toBeNull();
  });

  it('is blind if the kernel is told not to count', async () => {
    machine.files.set('iostats', '0');
    expect(blindnessIn(await writeStampOf('8:16'))).toMatch(/queue\/iostats is 0/);
  });
});

describe('a record of an image file', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'blind-stamp-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['NFS', 0x6969],
    ['SMB', 0xfe534d42],
    ['FUSE', 0x65735546],
  ])('on %s, which other hosts may write, is only believed', async (name, type) => {
    const image = path.join(folder, 'image');
    writeFileSync(image, 'x');
    const record = new StateRecord(folder, { path: image, number: null });
    const state = { is: 'exactly', identity: 'S', from: null } as const;
    await record.write(state);
    expect((await record.read()).holds).toEqual(state);
    machine.fileSystem = type;
    expect(blindnessIn(await fileStampOf(image))).toBe(`a file on ${name}`);
    expect((await record.read()).holds).toEqual({ ...state, believed: `a file on ${name}` });
  });
});
