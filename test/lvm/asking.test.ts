import { describe, expect, it } from 'vitest';
import { CommandError, SnapshotError } from '../../src/errors.js';
import { ProcessSpawner, type CommandResult, type Spawner } from '../../src/host/spawner.js';
import { DeviceMapper } from '../../src/lvm/device-mapper.js';
import { findDeviceNumber } from '../../src/lvm/device-node.js';
import { findLogicalVolume } from '../../src/lvm/logical-volume.js';
import { lookUpVolume } from '../../src/lvm/lvs.js';
import { checkSnapshotStatus, type DmSnapshot } from '../../src/lvm/snapshot.js';

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
  it('takes tables apart', async () => {
    const spawner = answering({ stdout: '0 131072 snapshot 254:1 254:2 P 8\n131072 8 linear 98:0 2048\n' });
    expect(await new DeviceMapper(spawner).table('254:3')).toEqual([
      { startSector: 0, sectors: 131_072, type: 'snapshot', words: ['254:1', '254:2', 'P', '8'] },
      { startSector: 131_072, sectors: 8, type: 'linear', words: ['98:0', '2048'] },
    ]);
    expect(spawner.asked).toEqual([['dmsetup', 'table', '-j', '254', '-m', '3']]);
  });

  it('takes names with blanks and empty UUIDs', async () => {
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
  ])('fails in words: %s', async (stderr, message) => {
    const asking = new DeviceMapper(answering({ status: 1, stderr })).table('254:3');
    await expect(asking).rejects.toThrow(CommandError);
    await expect(asking).rejects.toThrow(message);
  });

  it('says which tool is missing', async () => {
    const spawner: Spawner = new ProcessSpawner({ PATH: '/nonexistent' });
    await expect(spawner.run(['no-such-tool', 'table'])).rejects.toThrow(
      /no-such-tool is not installed or not in PATH/,
    );
  });
});

describe('a snapshot’s status', () => {
  it('is good only while the store counts', async () => {
    await checkSnapshotStatus(answering({ stdout: '0 8 snapshot 56/32768 16\n' }), snapshot);
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

  it('of something else under its name is an error', async () => {
    await expect(checkSnapshotStatus(answering({ stdout: '0 8 error \n' }), snapshot)).rejects.toThrow(
      SnapshotError,
    );
  });
});

describe('asking LVM', () => {
  it('reads its JSON, and guards names that look like options', async () => {
    const spawner = answering({
      stdout: report({ lv_full_name: 'vg/lv', lv_active: 'active', lv_merging: '' }),
    });
    expect(await findLogicalVolume(spawner, '-vg/lv')).toEqual({
      fullName: 'vg/lv',
      active: true,
      merging: false,
    });
    expect(spawner.asked[0]?.slice(-2)).toEqual(['--', '-vg/lv']);
  });

  it.each([
    '  Failed to find logical volume "vg/nix"',
    '  Volume group "nix" not found\n  Cannot process volume group nix',
  ])('knows a volume that does not exist: %s', async (stderr) => {
    expect(await findLogicalVolume(answering({ status: 5, stderr }), 'vg/nix')).toBeNull();
  });

  it('takes a volume for gone only where its group is there', async () => {
    const group = { stdout: report({ vg_name: 'vg' }) };
    const lookUp = (ofGroup: Partial<CommandResult>) => {
      const noVolume = answering({ status: 5, stderr: '  Failed to find logical volume "vg/view"' });
      const other = answering(ofGroup);
      const run: Spawner['run'] = (argv) => (argv.at(-1) === 'vg' ? other : noVolume).run(argv);
      return lookUpVolume({ ...noVolume, run }, ['lv_tags'], 'vg/view');
    };
    expect(await lookUp(group)).toBeNull();
    const unseen = lookUp({ status: 5, stderr: '  Volume group "vg" not found' });
    await expect(unseen).rejects.toThrow(CommandError);
    await expect(unseen).rejects.toThrow(/sees no volume group vg now.*of vg\/view: bring its disks back/);
  });

  it.each([
    [{ stdout: '{"report": 1}' }, /not what LVM promises/],
    [{ stdout: 'oops' }, /not what LVM promises/],
    [
      { status: 5, stderr: 'WARNING: Running as a non-root user. Functionality may be unavailable.' },
      /as root/,
    ],
    [{ status: 5, stderr: 'lock failed' }, /LVM does not answer: lock failed/],
  ])('fails in words: %o', async (result, message) => {
    await expect(findLogicalVolume(answering(result), 'vg/lv')).rejects.toThrow(message);
  });

  it('tells a merging snapshot, whose node is gone, from one that lost its node', async () => {
    const volume = { lv_full_name: 'vg/lv', lv_active: 'active' };
    const merging = answering({ stdout: report({ ...volume, lv_merging: 'merging' }) });
    await expect(findDeviceNumber(merging, 'no-such-vg/lv')).rejects.toThrow(/being merged into its origin/);
    const lost = answering({ stdout: report({ ...volume, lv_merging: '' }) });
    await expect(findDeviceNumber(lost, 'no-such-vg/lv')).rejects.toThrow(/vgscan --mknodes/);
  });

  it('tells an inactive volume from a missing one', async () => {
    const inactive = answering({ stdout: report({ lv_full_name: 'vg/lv', lv_active: '', lv_merging: '' }) });
    await expect(findDeviceNumber(inactive, 'no-such-vg/lv')).rejects.toThrow(
      /inactive.*lvchange -ay -K vg\/lv/,
    );
    const missing = answering({ status: 5, stderr: 'Volume group "no-such-vg" not found' });
    await expect(findDeviceNumber(missing, 'no-such-vg/lv')).rejects.toThrow('no-such-vg/lv: no such device');
    await expect(findDeviceNumber(missing, '/dev/null')).rejects.toThrow(/not a block device/);
  });
});
