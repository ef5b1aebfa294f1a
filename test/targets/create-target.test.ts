import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DeviceError, LockedError } from '../../src/errors.js';
import { openOrCreateTarget } from '../../src/targets/create-target.js';
import { quietSurroundings } from '../support/surroundings.js';

const SIZE = 3 * 1024 * 1024 + 512;
let folder: string;
let path: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-create-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  rmSync(join(folder, 'image'), { force: true });
  rmSync(join(folder, 'image.lvmsync-partial'), { force: true });
  path = join(folder, 'image');
});

const open = () => {
  const options = { stateDir: join(folder, 'state'), what: 'test', sources: [], allowed: null };
  return openOrCreateTarget({ path, size: SIZE, create: { kind: 'plain' } }, options, quietSurroundings());
};
const names = () => readdirSync(folder).filter((name) => name !== 'state');

describe('a file that is created', () => {
  it('is removed if nothing was written to it', async () => {
    const target = await open();
    expect([names(), target.device.size]).toEqual([['image.lvmsync-partial'], SIZE]);
    await target.device.zero(0, SIZE);
    await target.close();
    expect(names()).toEqual([]);
  });

  it('keeps its temporary name if it was written, and has what was written when it is opened again', async () => {
    const target = await open();
    await target.device.writeAt(Buffer.from('written'), 512);
    await target.close();
    expect(names()).toEqual(['image.lvmsync-partial']);
    const again = await open();
    const bytes = Buffer.alloc(7);
    await again.device.readAt(bytes, 512);
    expect(bytes.toString()).toBe('written');
    // It is no new one: zeroes must be written, and what was there stays.
    await again.device.zero(0, 515);
    await again.close();
    expect(readFileSync(`${path}.lvmsync-partial`).subarray(512, 519).toString()).toBe('\0\0\0tten');
  });

  it('gets its name once it is finished, and so does its record', async () => {
    const target = await open();
    await target.device.writeAt(Buffer.from('written'), 0);
    await target.record.write({ is: 'copying', identity: 'S', from: null });
    await target.finish?.();
    const record = await target.moveRecord?.();
    await record?.write({ is: 'exactly', identity: 'S', from: null });
    await target.close();
    expect(names()).toEqual(['image']);
    expect(statSync(path).size).toBe(SIZE);
    const named = await open();
    expect((await named.record.read()).holds).toMatchObject({ is: 'exactly', identity: 'S' });
    await named.close();
    expect(existsSync(path)).toBe(true);
  });

  it('never replaces a file that came meanwhile', async () => {
    const target = await open();
    await target.device.writeAt(Buffer.from('written'), 0);
    writeFileSync(path, 'another');
    await expect(target.finish?.()).rejects.toThrow(DeviceError);
    await target.close();
    expect([readFileSync(path, 'utf8'), names()]).toEqual(['another', ['image', 'image.lvmsync-partial']]);
  });

  it('does not belong to another run meanwhile, which leaves it alone', async () => {
    const target = await open();
    await expect(open()).rejects.toThrow(LockedError);
    expect(names()).toEqual(['image.lvmsync-partial']);
    await target.close();
  });
});
