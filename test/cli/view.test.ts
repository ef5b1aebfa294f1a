import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BaseView } from '../../src/changes/base-view.js';
import { openLocalDevice } from '../../src/device/local-device.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { openTarget } from '../../src/targets/open-target.js';
import { runWords } from '../support/run-program.js';
import { archiveBytes, proto3Bytes } from '../support/scenes/archives.js';
import { quietSurroundings } from '../support/surroundings.js';

const SECTOR = 512;
const SECTORS = 512;
const spawner = new ProcessSpawner(process.env);

let folder = '';
const at = (name: string) => join(folder, name);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-view-'));
  writeFileSync(at('volume'), Buffer.alloc(SECTORS * SECTOR, 'now '));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function view(...words: readonly string[]) {
  const { status, said, stdout } = await runWords(['view', ...words]);
  return { status, said: said.join('\n'), stdout: stdout.toString() };
}

/** A store with the rest of its chunks from a target, whose record is in the folder. */
async function storeOver(target: string, ...words: readonly string[]) {
  return await view('store', at('out'), ...words, '--target', at(target), '--state-dir', at('state'));
}

async function writeArchive(name: string, from: number, count: number, fill: number): Promise<string> {
  const passes = [[{ at: from, count, fill, kind: 'data' as const }]];
  const header = { kind: 'undo' as const, base: `s${fill}`, result: `s${fill - 1}` };
  writeFileSync(at(name), await archiveBytes(SECTORS * SECTOR, { indexed: true, header, passes }));
  return at(name);
}

/** Copies a state to the volume: what that holds is then known. */
async function copyOf(result: string): Promise<void> {
  const size = SECTORS * SECTOR;
  const header = { kind: 'full' as const, base: null, result };
  const passes = [[{ at: 0, count: SECTORS, fill: 9, kind: 'data' as const }]];
  const input = await archiveBytes(size, { indexed: false, header, passes });
  await runWords(['--apply', '-', at('volume'), '--state-dir', at('state')], input);
}

describe('view store', () => {
  it('refuses a target that is in another state than the archives start from, or in use', async () => {
    const [undo, earlier] = [await writeArchive('a', 3, 10, 2), await writeArchive('b', 8, 2, 1)];
    await copyOf('s2');
    await runWords(['--apply', undo, at('volume'), '--state-dir', at('state')]);
    const stranger = await writeArchive('c', 3, 10, 7);
    const refused = await storeOver('volume', stranger);
    expect([refused.status, refused.said]).toEqual([
      7,
      expect.stringMatching(/volume: it holds exactly s1, but the undo starts from s7/),
    ]);
    expect(existsSync(at('out'))).toBe(false);
    expect(await storeOver('volume', stranger, '--force=base')).toMatchObject({ status: 0 });
    rmSync(at('out'));

    const opening = { stateDir: at('state'), what: 'a transfer', sources: [], allowed: null };
    const target = await openTarget(at('volume'), opening, quietSurroundings());
    const locked = await storeOver('volume', earlier);
    expect([locked.status, locked.said]).toEqual([13, expect.stringMatching(/locked by .*a transfer/)]);
    await target.close();
    const { status, said } = await storeOver('volume', earlier);
    expect([status, said]).toEqual([0, expect.not.stringMatching(/believed/)]);
  });

  it('writes what the archives lead to, the rest of their chunks from the target, and room for the rest of the volume', async () => {
    const archives = [await writeArchive('a', 3, 10, 2), await writeArchive('b', 8, 2, 1)];
    const unknown = await storeOver('volume', ...archives);
    expect([unknown.status, unknown.said]).toEqual([
      7,
      expect.stringMatching(/volume: nothing proves that it holds the base of the undo \(byte 1536\)/),
    ]);
    const { status, said } = await storeOver('volume', ...archives, '--force=base');
    expect([status, said]).toEqual([
      0,
      expect.stringMatching(/out: a store with 2 chunks of 4 KiB \(8 sectors\)/),
    ]);
    const shown = await shownBy(at('out'));
    const expected = Buffer.from(readFileSync(at('volume')));
    for (let sector = 3; sector < 13; sector++) {
      const fill = sector === 8 || sector === 9 ? 1 : 2;
      expected.fill(`sector ${sector} of ${fill} `, sector * SECTOR, (sector + 1) * SECTOR);
    }
    expect(shown).toBeBytes(expected);
    expect(statSync(at('out')).size).toBe((1 + 1 + 64) * 4096);
    expect(statSync(at('out')).mode & 0o777).toBe(0o600);
    expect(readFileSync(at('volume'))).toBeBytes(Buffer.alloc(SECTORS * SECTOR, 'now '));
  });

  it('needs no target if the archives have whole chunks, and says so if they do not', async () => {
    expect((await view('store', at('out'), await writeArchive('a', 16, 8, 2), '--spare', '4K')).status).toBe(
      0,
    );
    expect(statSync(at('out')).size).toBe(4 * 4096);
    const part = await view('store', at('other'), await writeArchive('b', 3, 8, 2));
    expect([part.status, part.said]).toEqual([2, expect.stringMatching(/parts of some chunks .*--target/)]);
    expect(existsSync(at('other'))).toBe(false);
  });

  it('takes the Ruby tool’s format when told what it is', async () => {
    writeFileSync(at('old'), await proto3Bytes([{ at: 8, count: 8, fill: 4, kind: 'data' }]));
    expect((await view('store', at('out'), at('old'))).said).toMatch(/--proto3/);
    expect((await view('store', at('out'), at('old'), '--proto3', 'undo')).status).toBe(0);
    expect((await shownBy(at('out'))).toString('latin1', 4096, 4112)).toBe('sector 8 of 4 se');
  });

  it('never overwrites a file, and leaves none if it fails', async () => {
    const archive = await writeArchive('a', 16, 8, 2);
    writeFileSync(at('out'), 'precious');
    const refused = await view('store', at('out'), archive);
    expect([refused.status, refused.said]).toEqual([8, expect.stringMatching(/out: .*EEXIST/)]);
    expect(readFileSync(at('out'), 'utf8')).toBe('precious');

    const damaged = readFileSync(archive);
    damaged.writeUInt8(damaged.readUInt8(1000) ^ 1, 1000);
    writeFileSync(archive, damaged);
    expect((await view('store', at('new'), archive)).status).toBe(6);
    expect(existsSync(at('new'))).toBe(false);
  });

  it('refuses a target that is too small, and archives that do not meet', async () => {
    writeFileSync(at('small'), Buffer.alloc(SECTOR));
    const archive = await writeArchive('a', 16, 8, 2);
    expect(await storeOver('small', archive)).toMatchObject({
      status: 3,
      said: expect.stringMatching(
        /small: too small: it has 512 B, and the volume of these archives has .*truncate -s/,
      ) as string,
    });
    const other = await writeArchive('b', 16, 8, 7);
    expect(await view('store', at('out'), archive, other)).toMatchObject({ status: 7 });
  });
});

describe('view open', () => {
  const path = process.env['PATH'];
  /** No loop device can be had here, so each view is taken back. */
  beforeEach(() => {
    mkdirSync(at('bin'));
    for (const [tool, script] of [
      ['losetup', 'echo "none left" >&2; exit 1'],
      // As dmsetup 1.02.185 and 1.02.205 list a host's devices where there are none.
      ['dmsetup', 'echo "No devices found"'],
    ] as const) {
      writeFileSync(at(`bin/${tool}`), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
    process.env['PATH'] = `${at('bin')}:${path ?? ''}`;
  });
  afterEach(() => {
    process.env['PATH'] = path;
  });

  const open = async (...more: readonly string[]) => {
    const archive = await writeArchive('a', 16, 8, 2);
    await copyOf('s2');
    return await view('open', 'tuesday', at('volume'), archive, '--state-dir', at('state'), ...more);
  };

  it('that fails removes its own store, and no other file', async () => {
    mkdirSync(at('stores'));
    writeFileSync(at('stores/tuesday.cow'), 'precious');
    const failed = await open('--dir', at('stores'));
    expect([failed.status, failed.said]).toEqual([12, expect.stringMatching(/losetup .*none left/)]);
    expect(readdirSync(at('stores'))).toEqual(['tuesday.cow']);
    expect(readFileSync(at('stores/tuesday.cow'), 'utf8')).toBe('precious');
    expect((await view('list', '--state-dir', at('state'), '--json')).stdout).toBe('{"views":[]}\n');
  });

  it('with a missing folder is refused, and nothing is recorded', async () => {
    const refused = await open('--dir', at('nowhere'));
    expect([refused.status, refused.said]).toEqual([8, expect.stringMatching(/nowhere: .*create it first/)]);
    expect((await view('list', '--state-dir', at('state'), '--json')).stdout).toBe('{"views":[]}\n');
  });
});

describe('words', () => {
  it.each([
    [['ajar'], /ajar: unknown action: expected open, close, list or store/],
    [['open', 'name', 'target'], /missing argument/],
    [['close'], /missing argument/],
    [['close', 'a', 'b'], /unexpected argument: b/],
    [['list', 'a'], /unexpected argument: a/],
    [['store', 'out'], /missing argument/],
    [['list', '--dir', '/'], /--dir cannot be used with view list/],
    [['store', 'out', 'a', '--json'], /--json cannot be used with view store/],
    [['open', 'n', 't', 'a', '--target', 'x'], /--target cannot be used with view open/],
    [['open', 'n', 't', 'a', '--spare', '5'], /--spare.*Expected a number with a unit/],
  ])('%j are refused', async (words, message) => {
    expect(await view(...words)).toEqual({
      status: 2,
      said: expect.stringMatching(message) as string,
      stdout: '',
    });
  });

  it.each(['../x', '.x', '-x', 'a/b', 'a b', 'x'.repeat(65)])('refuse the name "%s"', async (name) => {
    const { status, said } = await view('close', '--state-dir', folder, '--', name);
    expect([status, said]).toEqual([2, expect.stringMatching(/a view's name is/)]);
  });

  it('can close and list nothing', async () => {
    const none = await view('close', 'past', '--state-dir', folder);
    expect([none.status, none.said]).toEqual([2, expect.stringMatching(/there is no view past/)]);
    expect((await view('list', '--state-dir', folder, '--json')).stdout).toBe('{"views":[]}\n');
  });
});

/** What a store shows over the volume. */
async function shownBy(store: string): Promise<Buffer> {
  const [cow, volume] = [
    await openLocalDevice(store, { spawner }),
    await openLocalDevice(at('volume'), { spawner }),
  ];
  try {
    const bytes = Buffer.alloc(volume.size);
    await new BaseView(cow, volume).readAt(bytes, 0);
    return bytes;
  } finally {
    await cow.close();
    await volume.close();
  }
}
