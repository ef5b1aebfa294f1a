import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeviceNumber } from '../../src/device/device-facts.js';
import { StateRecord } from '../../src/targets/state-record.js';
import { isSameDevice } from '../../src/usage/device-identity.js';
import { blindnessIn, compareStamps } from '../../src/usage/write-stamp.js';

const STAMP = 'sectors boot-1 253:3 17 2048';

describe('two stamps of a device', () => {
  it.each([
    ['that are alike', STAMP, 'same'],
    ['with more sectors', 'sectors boot-1 253:3 17 2049', 'moved'],
    ['of two boots', 'sectors boot-2 253:3 17 2048', 'unknown'],
    ['that was activated anew', 'sectors boot-1 253:3 18 2048', 'unknown'],
    ['that got a snapshot', `${STAMP} on 253:4 19 5`, 'remapped'],
    ['that was laid over something else meanwhile', `${STAMP} over 16256`, 'remapped'],
    ['that was, and was written', 'sectors boot-1 253:3 17 2050 over 16256', 'moved'],
    ['that got a snapshot, and was written', 'sectors boot-1 253:3 17 2050 on 253:4 19 5', 'moved'],
    ['whose writes are not all seen', `${STAMP} blind: other hosts may write to it (rbd0)`, 'unknown'],
    ['that was written, although not all is seen', 'sectors boot-1 253:3 17 2050 blind: x', 'moved'],
  ] as const)('%s', (_name, now, verdict) => {
    expect(compareStamps(STAMP, now)).toBe(verdict);
  });

  it('include the devices underneath a mapped device', () => {
    expect(compareStamps(`${STAMP} over 15290,7`, `${STAMP} over 15290,7`)).toBe('same');
    expect(compareStamps(`${STAMP} over 15290,7`, `${STAMP} over 15290,8`)).toBe('remapped');
    expect(compareStamps(`${STAMP} on 253:4 19 5 over 7`, `${STAMP} on 253:4 19 6 over 7`)).toBe('moved');
  });

  it('that are both blind say nothing, even if they are equal', () => {
    const blind = `${STAMP} blind: the kernel does not count its writes (queue/iostats is 0)`;
    expect(compareStamps(blind, blind)).toBe('unknown');
    expect(blindnessIn(blind)).toMatch(/does not count/);
  });

  it('of an earlier lvmsync, which counted requests, say nothing', () => {
    expect(compareStamps('boot-1 253:3 17 2048', STAMP)).toBe('unknown');
  });

  it('of a file', () => {
    expect(compareStamps('file 5 10 10', 'file 5 10 10')).toBe('same');
    expect(compareStamps('file 5 10 10', 'file 5 10 11')).toBe('moved');
    expect(compareStamps('file 5 10 10', 'file 5 10 10 blind: a file on NFS')).toBe('unknown');
  });
});

describe('two identities', () => {
  const file = { boot: 'b1', lasting: 'inode 5', birth: '7', passing: 'file system 1' };
  const disk = { boot: 'b1', lasting: null, passing: 'diskseq 9' };
  it.each([
    ['of one file', file, file, 'yes'],
    ['of one file in another boot', file, { ...file, boot: 'b2', passing: 'file system 2' }, 'yes'],
    ['of two files', file, { ...file, lasting: 'inode 6' }, 'no'],
    ['of two files with one inode, one after the other', file, { ...file, birth: '8' }, 'no'],
    ['of two files on two file systems', file, { ...file, passing: 'file system 2' }, 'no'],
    ['of a file whose birth is not known', file, { ...file, birth: undefined }, 'yes'],
    ['of a disk without a name', disk, disk, 'yes'],
    ['of two such disks', disk, { ...disk, passing: 'diskseq 10' }, 'no'],
    ['of such a disk in another boot', disk, { ...disk, boot: 'b2' }, 'unknown'],
  ] as const)('%s', (_name, before, now, verdict) => {
    const { birth, ...rest } = { birth: undefined, ...now };
    expect(isSameDevice(before, birth === undefined ? rest : { ...rest, birth })).toBe(verdict);
  });
});

/** Any block device: it is neither opened nor written. */
function someDevice(): DeviceNumber | null {
  try {
    const read = (name: string, what: string) =>
      readFileSync(`/sys/dev/block/${name}/${what}`, 'latin1').trim();
    const [first] = readdirSync('/sys/block')
      .filter((name) => read(`../../block/${name}`, 'queue/iostats') === '1')
      .map((name) => read(`../../block/${name}`, 'dev'))
      .filter((number) => read(number, 'stat').split(/\s+/)[6] === '0');
    return (first ?? null) as DeviceNumber | null;
  } catch {
    return null;
  }
}

describe('a record of a device', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lvmsync-stamp-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });
  const device = someDevice();
  const edit = (change: (text: string) => string) => {
    const path = join(folder, 'state.json');
    writeFileSync(path, change(readFileSync(path, 'utf8')));
  };
  const state = { is: 'exactly', identity: 'S', from: null } as const;

  it.runIf(device !== null)('of another boot, or of an earlier lvmsync, is only believed', async () => {
    const record = new StateRecord(folder, { path: '/dev/x', number: device });
    await record.write(state);
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    for (const [from, to] of [
      [boot, '00000000-0000-0000-0000-000000000000'],
      ['sectors ', ''],
    ] as const) {
      edit((text) => text.replace(from, to));
      expect(await record.read()).toMatchObject({
        ...{ isStale: false, gap: expect.stringMatching(/before the last boot/) as string },
        holds: { ...state, believed: expect.stringMatching(/before the last boot/) as string },
      });
    }
    // what was once believed stays so, and is not told again and again
    const { holds } = await record.read();
    await record.write(holds);
    const again = await record.read();
    expect(again.holds).toEqual(holds);
    expect(again.gap).toBeUndefined();
  });

  it('of a file that was written since is stale, and says nothing about its contents', async () => {
    const path = join(folder, 'image');
    writeFileSync(path, 'a');
    const record = new StateRecord(folder, { path, number: null });
    await record.write(state);
    expect(await record.read()).toMatchObject({ holds: state, isStale: false });
    edit((text) => text.replace(`file ${statSync(path).ino} `, `file ${statSync(path).ino} 1`));
    expect(await record.read()).toMatchObject({ holds: null, isStale: true });
  });
});
