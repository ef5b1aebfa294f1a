import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { receiveStream } from '../../src/apply/receive-stream.js';
import { recoverTarget } from '../../src/apply/recover.js';
import { openArchive } from '../../src/archive/archive.js';
import { DeviceError } from '../../src/errors.js';
import { DEFAULT_POLICY, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import { openOrCreateTarget } from '../../src/targets/create-target.js';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { patterned } from '../support/blocks.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { archiveBytes, SECTOR, type Write } from '../support/scenes/archives.js';
import { pool, sourceOf } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const SIZE = 64 * SECTOR;
const EXACTLY_A = { is: 'exactly', identity: 'A', from: null } as const;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-done-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function stream(base: string | null, result: string, kind: 'changes' | 'full' = 'changes'): Promise<Buffer> {
  const write: Write =
    kind === 'full'
      ? { at: 0, count: 64, kind: 'data', fill: 1 }
      : { at: 8, count: 8, kind: 'data', fill: 1 };
  return archiveBytes(SIZE, { passes: [[write]], indexed: false, header: { kind, base, result } });
}

const recover = (target: OpenTarget) => recoverTarget(target, quietSurroundings());

describe('an apply that is done', () => {
  it.each(['changes', 'full'] as const)(
    'of a stream of %s stays done where its record cannot be written',
    async (kind) => {
      const target = await targetOfA(() => undefined);
      const full = new DeviceError(join(target.folder, 'state.json'), 'write', null, 'no space left');
      const write = vi.spyOn(target.record, 'write').mockImplementation(async (state, ...words) => {
        if (state?.is === 'exactly') throw full;
        write.mockRestore();
        await target.record.write(state, ...words);
        vi.spyOn(target.record, 'write').mockRejectedValueOnce(full);
      });
      const { error, said } = await apply(target, await stream(kind === 'full' ? null : 'A', 'B', kind));
      expect([error, said]).toEqual([
        null,
        expect.stringMatching(
          /^\/dev\/t: all of it is written, but that could not be recorded \(.*no space left/,
        ),
      ]);
      expect(existsSync(join(target.folder, 'apply.json'))).toBe(false);
      expect((await target.record.read()).holds).toBeNull();
      vi.restoreAllMocks();
      expect(await recover(target)).toMatchObject({ kind: 'nothing to do' });
      expect(await apply(target, await stream('B', 'C'))).toEqual({ error: null, said: '' });
      expect((await target.record.read()).holds).toMatchObject({ is: 'exactly', identity: 'C' });
    },
  );

  it('stays done where its journal cannot be removed', async () => {
    const target = await targetOfA((place) => {
      rmSync(join(place, 'apply.json'), { recursive: true });
      mkdirSync(join(place, 'apply.json'));
    });
    const { error, said } = await apply(target, await stream('A', 'B'));
    expect([error, said]).toEqual([
      null,
      expect.stringMatching(/^\/dev\/t: all of it is written; .*apply\.json/),
    ]);
    expect((await target.record.read()).holds).toMatchObject({ is: 'exactly', identity: 'B' });
  });

  it('keeps its snapback under its temporary name if the final name is taken by then', async () => {
    const undo = join(folder, 'undo');
    const target = await targetOfA(() => {
      writeFileSync(undo, 'precious');
    });
    const { error, said } = await apply(target, await stream('A', 'B'), { snapback: undo });
    expect([error, said]).toEqual([
      null,
      expect.stringMatching(
        /all of it is written; its snapback is complete, but is still called .*undo\.partial.*EEXIST/,
      ),
    ]);
    expect(readFileSync(undo, 'utf8')).toBe('precious');
    expect(await openArchive(`${undo}.partial`)).toMatchObject({ base: 'B', result: 'A' });
    expect((await target.record.read()).holds).toMatchObject({ is: 'exactly', identity: 'B' });
    expect(await recover(target)).toMatchObject({ kind: 'nothing to do' });
  });
});

describe('recover, after an apply that was done and whose name', () => {
  /** A crash after the end of the journal, of which the note is still there. */
  async function crashed(undo: string) {
    const names = ['apply.json', 'apply.length'];
    const target = await targetOfA((place) => {
      for (const name of names) cpSync(join(place, name), join(folder, name));
    });
    expect((await apply(target, await stream('A', 'B'), { snapback: undo })).error).toBeNull();
    for (const name of names) cpSync(join(folder, name), join(target.folder, name));
    return target;
  }

  it('is taken says where the snapback is, and does not block later runs', async () => {
    const undo = join(folder, 'undo');
    const target = await crashed(undo);
    linkSync(undo, `${undo}.partial`);
    rmSync(undo);
    writeFileSync(undo, 'precious');
    expect(await recover(target)).toEqual({
      kind: 'holds the result',
      snapback: `${undo}.partial`,
      problem: expect.stringContaining('its snapback is complete, but is still called') as string,
    });
    expect([readFileSync(undo, 'utf8'), existsSync(`${undo}.partial`)]).toEqual(['precious', true]);
    expect(await recover(target)).toMatchObject({ kind: 'nothing to do' });
  });

  it('had been given when the crash came removes the temporary one', async () => {
    const undo = join(folder, 'undo');
    const target = await crashed(undo);
    linkSync(undo, `${undo}.partial`);
    expect(await recover(target)).toEqual({ kind: 'holds the result', snapback: undo, problem: null });
    expect([statSync(undo).nlink, existsSync(`${undo}.partial`)]).toEqual([1, false]);
  });
});

describe('a copy to a target that was made for it', () => {
  it('is a failure if the target cannot get its name, says what to do, and continues from there', async () => {
    const image = join(folder, 'image');
    const open = () => {
      const options = { stateDir: join(folder, 'state'), what: 'test', sources: [], allowed: null };
      return openOrCreateTarget(
        { path: image, size: SIZE, create: { kind: 'plain' } },
        options,
        quietSurroundings(),
      );
    };
    const bytes = await stream(null, 'A', 'full');
    const first = await open();
    writeFileSync(image, 'precious');
    const { error, said } = await apply(first, bytes);
    await first.close();
    expect(error).toBeInstanceOf(DeviceError);
    expect(said).toMatch(
      /image\.lvmsync-partial: the copy is complete, but still has its temporary name: .*run it again/,
    );
    expect(said).not.toMatch(/half/);
    expect(readFileSync(image, 'utf8')).toBe('precious');
    rmSync(image);
    const second = await open();
    expect(await apply(second, bytes)).toEqual({ error: null, said: '' });
    await second.close();
    expect(readFileSync(image).subarray(0, 8).toString()).toBe('sector 0');
  });
});

/** Applies a stream; what it did, what was said, and the error that ended it. */
async function apply(target: OpenTarget, bytes: Buffer, policy: Partial<ApplyPolicy> = {}) {
  const env = quietSurroundings();
  const options = {
    ...{ what: 'stream', target, isSession: false },
    policy: { ...DEFAULT_POLICY, ...policy },
  };
  const error: unknown = await receiveStream(sourceOf(bytes), options, env, pool()).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return { error, said: env.notices.join('\n') };
}

/** A target that holds A; something happens as it is first written. */
async function targetOfA(meanwhile: (folder: string) => void) {
  let isFirst = true;
  const device = new MemoryDevice(patterned(SIZE), '/dev/t', {
    beforeWrite: () => {
      if (isFirst) meanwhile(target.folder);
      isFirst = false;
    },
  });
  const target = openInMemory(device, folder);
  await target.record.write(EXACTLY_A);
  return target;
}
