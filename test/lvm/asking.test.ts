import { describe, expect, it } from 'vitest';
import { CommandError, SnapshotError } from '../../src/errors.js';
import { ProcessSpawner, type CommandResult, type Spawner } from '../../src/host/spawner.js';
import { DeviceMapper } from '../../src/lvm/device-mapper.js';
import { findDeviceNumber } from '../../src/lvm/device-node.js';
import { findLogicalVolume, parseVolumeName } from '../../src/lvm/lvs.js';
import { checkSnapshotStatus, type DmSnapshot } from '../../src/snapshots/snapshot.js';

/** Answers every command with one result, in words that real tools printed. */
function answering(result: Partial<CommandResult>): Spawner & { readonly asked: string[][] } {
  const asked: string[][] = [];
  return {
    asked,
    run: (argv) => {
      asked.push([...argv]);
      return Promise.resolve({ stdout: '', stderr: '', status: 0, ...result });
    },
    start: () => {
      throw new Error('nothing is started here');
    },
  };
}

const report = (lv: object) => JSON.stringify({ report: [{ lv: [lv] }] });
const snapshot: DmSnapshot = {
  name: 'vg/snap',
  uuid: 'LVM-x',
  number: '254:3',
  size: 4096,
  origin: '254:0',
  originName: 'vg-vm',
  cow: '254:2',
};

describe('asking device-mapper', () => {
  it('parses tables', async () => {
    const spawner = answering({ stdout: '0 131072 snapshot 254:1 254:2 P 8\n131072 8 linear 98:0 2048\n' });
    expect(await new DeviceMapper(spawner).table('254:3')).toEqual([
      { startSector: 0, sectors: 131_072, type: 'snapshot', words: ['254:1', '254:2', 'P', '8'] },
      { startSector: 131_072, sectors: 8, type: 'linear', words: ['98:0', '2048'] },
    ]);
    expect(spawner.asked).toEqual([['dmsetup', 'table', '--manglename', 'none', '-j', '254', '-m', '3']]);
  });

  it('accepts names with blanks, and empty UUIDs', async () => {
    const spawner = answering({ stdout: '2  odd name\n' });
    expect(await new DeviceMapper(spawner).info('254:3')).toEqual({
      openCount: 2,
      uuid: '',
      name: 'odd name',
    });
  });

  it.each([
    ['/dev/mapper/control: open failed: Permission denied', /run lvmsync as root/],
    ['Device does not exist.', /does not know this device.*Device does not exist/],
  ])('fails with a reason: %s', async (stderr, message) => {
    const asking = new DeviceMapper(answering({ status: 1, stderr })).table('254:3');
    await expect(asking).rejects.toThrow(CommandError);
    await expect(asking).rejects.toThrow(message);
  });

  it('says which tool is missing', async () => {
    const spawner: Spawner = new ProcessSpawner({ PATH: '/nonexistent' });
    await expect(spawner.run(['no-such-tool', 'table'])).rejects.toThrow(
      /no-such-tool: not installed, or not in PATH/,
    );
  });
});

describe('a snapshot’s status', () => {
  it('is good only while the store counts', async () => {
    const checking = checkSnapshotStatus(answering({ stdout: '0 8 snapshot 56/32768 16\n' }), snapshot);
    await expect(checking).resolves.toBeUndefined();
  });

  it.each([
    ['Invalid', /invalid: its store filled up/],
    ['Overflow', /overflowed/],
    ['Merge failed', /merging.*failed/],
    ['Unknown', /"snapshot Unknown"/],
  ])('%s is an error', async (word, message) => {
    const checking = checkSnapshotStatus(answering({ stdout: `0 8 snapshot ${word}\n` }), snapshot);
    await expect(checking).rejects.toThrow(SnapshotError);
    await expect(checking).rejects.toThrow(message);
  });

  it('of something else with its name is an error', async () => {
    await expect(checkSnapshotStatus(answering({ stdout: '0 8 error \n' }), snapshot)).rejects.toThrow(
      SnapshotError,
    );
  });
});

describe('a volume without a node', () => {
  const withRow = (facts: object) =>
    answering({
      stdout: report({
        lv_full_name: 'no-vg/lv',
        lv_active: 'active',
        lv_merging: '',
        lv_attr: 'swi-a-s---',
        ...facts,
      }),
    });

  it('that lost its node to a merge is distinguished from one that merely lacks it', async () => {
    const merging = withRow({ lv_merging: 'merging' });
    await expect(findDeviceNumber(merging, 'no-vg/lv')).rejects.toThrow(/being merged into its origin/);
    await expect(findDeviceNumber(withRow({}), 'no-vg/lv')).rejects.toThrow(
      /active, but it has no node under \/dev: if udev does not run here .*udev_sync = 0.*vgmknodes/,
    );
  });

  it('that is inactive is distinguished from one that does not exist', async () => {
    await expect(findDeviceNumber(withRow({ lv_active: '' }), 'no-vg/lv')).rejects.toThrow(
      /inactive.*lvchange -ay -K no-vg\/lv/,
    );
    const missing = answering({ stdout: JSON.stringify({ report: [{ lv: [] }] }) });
    await expect(findDeviceNumber(missing, 'no-vg/lv')).rejects.toThrow('no-vg/lv: no such device');
    await expect(findDeviceNumber(missing, '/dev/null')).rejects.toThrow(/not a block device/);
  });
});

describe('a name of a volume', () => {
  it.each([
    ['vg/lv', 'vg', 'lv'],
    ['/dev/vg/lv', 'vg', 'lv'],
    ['/dev/mapper/vg-lv', 'vg', 'lv'],
    ['/dev/mapper/my--vg-my--lv.1', 'my-vg', 'my-lv.1'],
    ['/dev/mapper/a----b-c', 'a--b', 'c'],
  ])('%s is parsed', (text, group, name) => {
    expect(parseVolumeName(text)).toEqual({ group, name });
  });

  it.each([
    'vg',
    '/dev/sda',
    '/dev/mapper/vg-lv-real',
    '-vg/lv',
    'a/b/c/d',
    './lv',
    'vg/l"v',
    '',
    'vg/',
    '/x/vg/lv',
  ])('%j is not a name of LVM, and LVM is not asked about it', async (text) => {
    const spawner = answering({ status: 5 });
    expect(await findLogicalVolume(spawner, text)).toBeNull();
    expect(spawner.asked).toEqual([]);
  });
});
