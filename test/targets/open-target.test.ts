import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  openSync,
  closeSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLocalDevice } from '../../src/device/local-device.js';
import { LockedError, UnsafeTargetError } from '../../src/errors.js';
import { isByteLocked, tryToShareByte } from '../../src/host/system-calls.js';
import { AllowedTargets } from '../../src/targets/allowed-targets.js';
import { openReadOnly, openTarget, type TargetLimit } from '../../src/targets/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

let folder = '';
const at = (name: string) => path.join(folder, name);

beforeEach(() => {
  folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'open-target-')));
  for (const name of ['in', 'out']) {
    mkdirSync(at(name));
    writeFileSync(at(`${name}/vm`), name.padEnd(512));
  }
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const options = (allowed: TargetLimit | null) => ({
  ...{ stateDir: at('state'), what: 'a test', sources: [] },
  allowed,
});

describe('a name that comes to mean something else', () => {
  /** Once it was found good, the name leads out. */
  function swapping(): TargetLimit {
    const real = AllowedTargets.of([at('in/*')]);
    let asked = 0;
    return {
      include: async (target) => {
        const answer = await real.include(target);
        asked += 1;
        if (asked === 1) {
          rmSync(at('in/vm'));
          symlinkSync(at('out/vm'), at('in/vm'));
        }
        return answer;
      },
    };
  }

  it('is refused after opening, for writing and for reading', async () => {
    const env = quietSurroundings();
    await expect(openTarget(at('in/vm'), options(swapping()), env)).rejects.toThrow(UnsafeTargetError);
    rmSync(at('in/vm'));
    writeFileSync(at('in/vm'), 'in');
    const reading = openReadOnly(at('in/vm'), swapping(), env);
    await expect(reading).rejects.toThrow(/not among the targets that this receiver allows/);
    expect(readFileSync(at('out/vm'), 'utf8')).toBe('out'.padEnd(512));
  });
});

it('nothing is made for a target that is not allowed', async () => {
  const allowed = AllowedTargets.of([at('in/*')]);
  await expect(openTarget(at('out/vm'), options(allowed), quietSurroundings())).rejects.toThrow(
    UnsafeTargetError,
  );
  expect(readdirSync(folder).sort()).toEqual(['in', 'out']);
  const target = await openTarget(at('in/vm'), options(allowed), quietSurroundings());
  await target.close();
  expect(readdirSync(at('state/targets'))).toHaveLength(1);
});

describe('an image file that another lvmsync may be writing', () => {
  const beside = () => ({ ...options(null), stateDir: at('other-state') });

  it('is refused until that one has ended, whatever state directory it uses', async () => {
    const env = quietSurroundings();
    const first = await openTarget(at('in/vm'), options(null), env);
    const second = openTarget(at('in/vm'), beside(), env);
    await expect(second).rejects.toThrow(LockedError);
    await expect(second).rejects.toThrow(`the target ${at('in/vm')} is locked by another program`);
    await first.close();
    const next = await openTarget(at('in/vm'), beside(), env);
    await next.close();
  });

  it('is opened by at most one of several that come at the same time', async () => {
    const env = quietSurroundings();
    const opening = ['a', 'b', 'c'].map((name) =>
      openTarget(at('in/vm'), { ...options(null), stateDir: at(name) }, env),
    );
    const outcomes = await Promise.allSettled(opening);
    const opened = outcomes.filter((each) => each.status === 'fulfilled');
    expect(opened).toHaveLength(1);
    for (const { value } of opened) await value.close();
  });

  it('is refused even if the other process is not visible among those that have it open for writing', async () => {
    const holder = spawn('flock', ['--no-fork', at('in/vm'), 'sh', '-c', 'echo held; exec sleep 60']);
    await once(holder.stdout, 'data');
    const env = quietSurroundings();
    await expect(openTarget(at('in/vm'), options(null), env)).rejects.toThrow(LockedError);
    holder.kill();
  });

  it('is waited for if the other one gives way at once', async () => {
    let asked = 0;
    const allowed: TargetLimit = {
      include: async () => {
        asked += 1;
        if (asked < 2) return true;
        const holder = spawn('flock', ['--no-fork', at('in/vm'), 'sh', '-c', 'echo held; exec sleep 0.3']);
        await once(holder.stdout, 'data');
        return true;
      },
    };
    const target = await openTarget(at('in/vm'), options(allowed), quietSurroundings());
    expect(asked).toBe(2);
    await target.close();
  });

  it('is refused if someone opens it between our first look and our own opening', async () => {
    const writers: ChildProcess[] = [];
    let asked = 0;
    const allowed: TargetLimit = {
      include: async () => {
        asked += 1;
        if (asked < 2) return true;
        const writer = spawn('sh', ['-c', 'exec 3<>"$1"; echo open; exec sleep 60', 'sh', at('in/vm')]);
        writers.push(writer);
        await once(writer.stdout, 'data');
        return true;
      },
    };
    const opening = openTarget(at('in/vm'), options(allowed), quietSurroundings());
    await expect(opening).rejects.toThrow(/vm: it is open in process \d+ \(sleep\): stop that first/);
    expect(writers).toHaveLength(1);
    for (const writer of writers) writer.kill();
  });
});

/** Another process that does something to a file, says so, and stays. */
async function startOther(script: string, file: string): Promise<ChildProcess> {
  const other = spawn('bash', ['-c', `${script}; echo done; exec sleep 60`, 'other', file]);
  await once(other.stdout, 'data');
  return other;
}

async function end(process: ChildProcess): Promise<void> {
  process.kill('SIGKILL');
  await once(process, 'exit');
}

describe('a target that was ours alone when it was opened', () => {
  it('is no longer ours alone while another process has it open for writing', async () => {
    const target = await openTarget(at('in/vm'), options(null), quietSurroundings());
    await target.checkStillAlone();
    const reader = await startOther('exec 3<"$1"', at('in/vm'));
    await target.checkStillAlone();
    const writer = await startOther('exec 3<>"$1"', at('in/vm'));
    const checking = target.checkStillAlone();
    await expect(checking).rejects.toThrow(UnsafeTargetError);
    await expect(checking).rejects.toThrow(
      `vm: something else used it during the run, so its contents are not known: it is open in process ${writer.pid ?? 0} (sleep)`,
    );
    for (const each of [reader, writer]) await end(each);
    await target.checkStillAlone();
    await target.close();
  });

  it('is waited for while another process only looks at it for a moment', async () => {
    const target = await openTarget(at('in/vm'), options(null), quietSurroundings());
    const writer = await startOther('exec 3>>"$1"', at('in/vm'));
    setTimeout(() => writer.kill('SIGKILL'), 200);
    await target.checkStillAlone();
    expect(writer.killed).toBe(true);
    await target.close();
  });

  it('is checked by the opened file, not by its name', async () => {
    const target = await openTarget(at('in/vm'), options(null), quietSurroundings());
    renameSync(at('in/vm'), at('in/moved'));
    writeFileSync(at('in/vm'), 'another');
    const writer = await startOther('exec 3<>"$1"', at('in/moved'));
    await expect(target.checkStillAlone()).rejects.toThrow(/it is open in process/);
    await end(writer);
    await target.checkStillAlone();
    await target.close();
  });
});

/* As /proc/locks shows it of qemu-io and qemu-img 7.2: a writer shares bytes 100 and 101, who bears no writer 201. */
describe('QEMU’s locks', () => {
  const locked = async (byte: number) => {
    const fd = openSync(at('in/vm'), 'r+');
    const answer = await isByteLocked(fd, byte);
    closeSync(fd);
    return answer;
  };

  it('are held while a target is open: they say that it is written, and that no one else may write', async () => {
    expect([await locked(101), await locked(201)]).toEqual([false, false]);
    const target = await openTarget(at('in/vm'), options(null), quietSurroundings());
    const answers = await Promise.all([100, 101, 200, 201].map(locked));
    // 200 would keep those out, too, who only read.
    expect(answers).toEqual([false, true, false, true]);
    await target.close();
    expect([await locked(101), await locked(201)]).toEqual([false, false]);
  });

  it.each([101, 201])('refuse a target if another process holds byte %i', async (byte) => {
    const fd = openSync(at('in/vm'), 'r');
    expect(await tryToShareByte(fd, byte)).toBe(true);
    const opening = openTarget(at('in/vm'), options(null), quietSurroundings());
    await expect(opening).rejects.toThrow(UnsafeTargetError);
    await expect(opening).rejects.toThrow(/vm: it is open in QEMU, as QEMU's own locks show/);
    closeSync(fd);
    await (await openTarget(at('in/vm'), options(null), quietSurroundings())).close();
  });

  it('are checked again at the end, even if someone took a shared lock meanwhile', async () => {
    const target = await openTarget(at('in/vm'), options(null), quietSurroundings());
    const fd = openSync(at('in/vm'), 'r');
    await tryToShareByte(fd, 101);
    await expect(target.checkStillAlone()).rejects.toThrow(/not known: it is open in QEMU/);
    closeSync(fd);
    await target.close();
  });
});

const hasQemu = spawnSync('qemu-io', ['--version']).status === 0;

describe.skipIf(!hasQemu)('a real QEMU', () => {
  const io = (command: string) => spawnSync('qemu-io', ['-f', 'raw', '-c', command, at('in/vm')]);

  it('refuses to write a file that is our target, and may read it', async () => {
    const target = await openTarget(at('in/vm'), options(null), quietSurroundings());
    const write = io('write 0 512');
    expect(write.stderr.toString() + write.stdout.toString()).toContain('Failed to get "write" lock');
    expect(readFileSync(at('in/vm'), 'utf8')).toBe('in'.padEnd(512));
    const read = spawnSync('qemu-io', ['-r', '-U', '-f', 'raw', '-c', 'read 0 512', at('in/vm')]);
    expect(read.status).toBe(0);
    await target.close();
    expect(io('write 0 512').status).toBe(0);
  });

  it('cannot copy a file that is our target', async () => {
    const target = await openTarget(at('in/vm'), options(null), quietSurroundings());
    const convert = () => spawnSync('qemu-img', ['convert', '-f', 'raw', at('in/vm'), at('copy')]);
    expect(convert().stderr.toString()).toContain('Failed to get shared "write" lock');
    await target.close();
    expect(convert().status).toBe(0);
  });

  it('that has a file open for writing is found by its locks alone if its process is not visible', async () => {
    const words = ['-f', 'raw', at('in/vm')];
    const qemu = spawn('qemu-io', words, { stdio: ['pipe', 'pipe', 'inherit'] });
    qemu.stdin.write('read 0 512\n');
    await once(qemu.stdout, 'data');
    const { spawner } = quietSurroundings();
    const device = await openLocalDevice(at('in/vm'), { writable: true, spawner });
    expect(await device.keepQemuOut()).toBe(false);
    await end(qemu);
    expect(await device.keepQemuOut()).toBe(true);
    await device.close();
  });
});
