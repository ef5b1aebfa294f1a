import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { recoverTarget } from '../../src/apply/recover.js';
import { Applier } from '../../src/engine/applier.js';
import { DeviceError, LockedError } from '../../src/errors.js';
import { lockFolder } from '../../src/host/run-lock.js';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { Journal } from '../../src/journal/journal.js';
import { archiveBytes, type Write } from '../support/scenes/archives.js';
import { applyBlock, dataBlock, patterned, undoFor } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

/** A file system that has no block left: what is there can be overwritten and removed, and empty files made. */
const disk = vi.hoisted(() => ({ isFull: false, fullFor: null as RegExp | null }));
vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>();
  const refuse = () => {
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  };
  const open = async (...words: Parameters<typeof real.open>): Promise<FileHandle> => {
    const file = await real.open(...words);
    const write = file.write.bind(file) as (...words: unknown[]) => Promise<unknown>;
    const writeFile = file.writeFile.bind(file);
    Object.assign(file, {
      write: async (...given: [Uint8Array | string, ...number[]]) => {
        const [bytes, second = 0, length = bytes.length, fourth = 0] = given;
        const end = typeof bytes === 'string' ? second + bytes.length : fourth + length;
        if (disk.isFull && end > (await file.stat()).size) refuse();
        return await write(...given);
      },
      writeFile: async (text: string) => {
        if (disk.isFull || disk.fullFor?.test(String(words[0])) === true) refuse();
        await writeFile(text);
      },
    });
    return file;
  };
  return { ...real, open };
});

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const BASE = patterned(SIZE);
let parent = '';
beforeEach(() => {
  Object.assign(disk, { isFull: false, fullFor: null });
  parent = mkdtempSync(join(tmpdir(), 'lvmsync-full-'));
});
afterEach(() => {
  rmSync(parent, { recursive: true });
});

describe.each([
  ['its journal', () => null],
  ['a snapback', () => join(parent, 'undo')],
])('a target whose apply filled the file system of %s', (_what, nameOf) => {
  it('is taken back, although there is no space for one more byte', async () => {
    const { device, target, folder } = await stopped(nameOf());
    expect(readdirSync(folder).filter((name) => name.endsWith('.new'))).toEqual([]);
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(BASE);
    expect([readdirSync(folder), readdirSync(parent).includes('undo.partial')]).toEqual([['stamp'], false]);
  });

  it('is taken back by a second recover if the first was cut short and tore a write', async () => {
    const { device, target } = await stopped(nameOf());
    let writes = 0;
    device.faults.beforeWrite = (offset) => {
      if (++writes < 3) return;
      // Half of the block is old again when the power fails.
      BASE.copy(device.bytes, offset, offset, offset + MIB / 2);
      throw new DeviceError('/dev/t', 'write', offset, 'the power failed');
    };
    await expect(recoverTarget(target, quietSurroundings())).rejects.toThrow('the power failed');
    delete device.faults.beforeWrite;
    expect(await recoverTarget(target, quietSurroundings())).toMatchObject({ kind: 'taken back' });
    expect(device.bytes).toBeBytes(BASE);
  });
});

it('a lock is held even if nothing can be written into it; then its holder has no name', async () => {
  const folder = join(parent, 'locked');
  mkdirSync(folder);
  const holder = { what: 'recover /dev/t', pid: process.pid, startedAt: new Date(0) };
  disk.isFull = true;
  const lock = await lockFolder(folder, 'the target', holder);
  expect(readFileSync(join(folder, 'lock'), 'utf8')).toBe('');
  const second = lockFolder(folder, 'the target', holder);
  await expect(second).rejects.toThrow(LockedError);
  await expect(second).rejects.toThrow(/is locked by another lvmsync that has just started/);
  await lock.release();
});

it('a small file that cannot be written leaves the old one, and nothing else', async () => {
  const target = openInMemory(new MemoryDevice(BASE, '/dev/t'), parent);
  await target.record.write({ is: 'exactly', identity: 'A', from: null });
  disk.isFull = true;
  const writing = target.record.write({ is: 'exactly', identity: 'B', from: null });
  await expect(writing).rejects.toThrow(/state\.json: write failed: ENOSPC/);
  expect(readdirSync(target.folder).sort()).toEqual(['stamp', 'state.json']);
  expect((await target.record.read()).holds?.identity).toBe('A');
});

it('the journal of an apply whose state cannot be recorded is closed and removed', async () => {
  const device = new MemoryDevice(BASE, '/dev/t');
  const target = openInMemory(device, parent);
  await target.record.write({ is: 'exactly', identity: 'A', from: null });
  const header = { kind: 'changes', base: 'A', result: 'B' } as const;
  const writes: readonly Write[] = [{ at: 0, count: 8, kind: 'data', fill: 2 }];
  const stream = await archiveBytes(SIZE, { passes: [writes], indexed: false, header });
  disk.fullFor = /state\.json/;
  const options = { what: 'stream', target, isSession: false, policy: DEFAULT_POLICY };
  const applying = receiveStream(sourceOf(stream), options, quietSurroundings(), pool());
  await expect(applying).rejects.toThrow(/state\.json: write failed: ENOSPC/);
  expect(openIn(target.folder)).toEqual([]);
  expect(readdirSync(target.folder).sort()).toEqual(['stamp', 'state.json']);
  expect(device.bytes).toBeBytes(BASE);
  expect((await target.record.read()).holds?.identity).toBe('A');
});

/** The files of a folder that this process has open. */
function openIn(folder: string): string[] {
  const names = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return names.filter((name) => name.startsWith(folder));
}

/** A target whose apply met a full disk in the middle, which is full still. */
async function stopped(snapback: string | null, device = new MemoryDevice(BASE, '/dev/t')) {
  const target = openInMemory(device, parent);
  const { folder } = target;
  await target.record.write({ is: 'applying from', identity: 'A', from: 'A' });
  const journal = await Journal.begin(folder, undoFor(SIZE, 4096), snapback);
  const applier = new Applier(device, { log: journal.log, lendOld: pool(), groupBytes: MIB });
  const apply = async () => {
    for (let at = 0; at < SIZE; at += MIB) {
      if (at === 8 * MIB) await applier.checkpoint({ token: Buffer.from('here'), changedBytes: at });
      if (at === 12 * MIB) disk.isFull = true;
      await applyBlock(applier, dataBlock(at, MIB, 1));
    }
    await applier.finish();
  };
  await expect(apply()).rejects.toThrow(/ENOSPC/);
  await applier.abandon();
  expect(await journal.abandon(true, 'stamp', 'run')).toBe(true);
  expect(device.bytes.subarray(0, 8 * MIB)).toBeBytes(Buffer.alloc(8 * MIB, 1));
  return { device, target, folder };
}
