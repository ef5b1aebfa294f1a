import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DeviceError, LockedError } from '../../src/errors.js';
import { lockFolder, watchForSuccessor } from '../../src/host/run-lock.js';

const holder = { what: 'receive /dev/vg/vm', pid: process.pid, startedAt: new Date('2026-01-02T03:04:05Z') };
const other = { what: 'recover /dev/vg/vm', pid: 4712, startedAt: new Date('2026-01-02T04:00:00Z') };

let place = '';
let folder = '';
beforeEach(async () => {
  place = await mkdtemp(path.join(tmpdir(), 'lvmsync-lock-'));
  folder = path.join(place, 'targets/LVM-x');
});
afterEach(() => rm(place, { recursive: true }));

describe('the lock of a run', () => {
  it('is held by one run at a time, which is named to the other', async () => {
    const lock = await lockFolder(folder, 'the target', holder);
    const second = lockFolder(folder, 'the target', other);
    await expect(second).rejects.toThrow(LockedError);
    await expect(second).rejects.toThrow(
      `the target is locked by process ${process.pid} (receive /dev/vg/vm), since 2026-01-02T03:04:05.000Z: wait until it ends`,
    );
    await lock.release();

    const again = await lockFolder(folder, 'the target', other);
    expect(await readFile(path.join(folder, 'lock'), 'utf8')).toMatch(/^process 4712 \(recover/);
    await again.release();
    expect(await readFile(path.join(folder, 'lock'), 'utf8')).toBe('');
  });

  it('does not tell which run holds it, because that knowledge could end the run; a receiver of that run takes it over', async () => {
    const first = await lockFolder(folder, 'the target', { ...holder, run: 'the-secret-run' });
    const second = await lockFolder(folder, 'the target', { ...other, run: 'another-run' }).catch(
      (error: unknown) => error,
    );
    expect(second).toBeInstanceOf(LockedError);
    expect(String(second)).toContain(`process ${process.pid} (receive /dev/vg/vm), since 2026-01-02`);
    expect(JSON.stringify(second) + String(second)).not.toContain('secret');
    let isAsked = false;
    const stopWatching = watchForSuccessor(folder, 'the-secret-run', () => (isAsked = true));
    const successor = lockFolder(folder, 'the target', { ...other, run: 'the-secret-run' });
    await waitFor(() => isAsked);
    await first.release();
    await (await successor).release();
    stopWatching();
  });

  it.each([null, ''])('without a run is not taken over by a run that calls itself %j', async (run) => {
    const lock = await lockFolder(folder, 'the target', holder);
    await expect(lockFolder(folder, 'the target', { ...other, run })).rejects.toThrow(LockedError);
    await lock.release();
  });

  it('is for its user only, and so are the folders that it makes', async () => {
    const lock = await lockFolder(folder, 'the target', holder);
    const modes = await Promise.all(
      ['targets', 'targets/LVM-x', 'targets/LVM-x/lock'].map((each) => stat(path.join(place, each))),
    );
    expect(modes.map(({ mode }) => (mode & 0o777).toString(8))).toEqual(['700', '700', '600']);
    await lock.release();
  });

  it('ends with its process, even a killed one, and what that process wrote misleads no other run', async () => {
    const child = startHolder();
    await once(child.stdout, 'data');
    await expect(lockFolder(folder, 'the target', other)).rejects.toThrow(
      new RegExp(`process ${child.pid ?? 0} \\(a long run\\), since 2026`),
    );
    child.kill('SIGKILL');
    await once(child, 'exit');

    const lock = await lockFolder(folder, 'the target', other);
    expect(await readFile(path.join(folder, 'lock'), 'utf8')).toMatch(/^process 4712 .*\n$/);
    await lock.release();
  });

  it('is waited for if a killed process left it for a moment to a command that it was starting', async () => {
    const ended = path.join(place, 'ended');
    const child = startHolder(`
      const { readdirSync, readlinkSync } = await import('node:fs');
      const isLock = (fd) => { try { return readlinkSync('/proc/self/fd/' + fd).endsWith('/lock'); } catch { return false; } };
      const fd = Number(readdirSync('/proc/self/fd').find(isLock));
      const words = ['-c', 'sleep 0.5; touch "$1"', 'sh', ${JSON.stringify(ended)}];
      (await import('node:child_process')).spawn('sh', words, { stdio: ['ignore', 'ignore', 'ignore', fd] });`);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    await (await lockFolder(folder, 'the target', other)).release();
    expect(existsSync(ended)).toBe(true);
  });

  it('follows no link, and says where it cannot be made', async () => {
    await (await lockFolder(folder, 'the target', holder)).release();
    const precious = path.join(place, 'precious');
    await writeFile(precious, 'precious');
    await rm(path.join(folder, 'lock'));
    await symlink(precious, path.join(folder, 'lock'));
    const linked = lockFolder(folder, 'the target', holder);
    await expect(linked).rejects.toThrow(DeviceError);
    await expect(linked).rejects.toThrow(/LVM-x\/lock: open failed: ELOOP/);
    expect(await readFile(precious, 'utf8')).toBe('precious');
    await expect(lockFolder(path.join(precious, 'state'), 'it', holder)).rejects.toThrow(
      /write failed: ENOTDIR/,
    );
  });
});

async function waitFor(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Another process that takes the lock, says so, and stays. */
function startHolder(alsoDoes = '') {
  const module = pathToFileURL(path.resolve(import.meta.dirname, '../../src/host/run-lock.ts')).href;
  const script = `
    const { lockFolder } = await import('${module}');
    const startedAt = new Date('2026-01-02T03:04:05Z');
    await lockFolder(${JSON.stringify(folder)}, 'it', { what: 'a long run', pid: process.pid, startedAt });
    ${alsoDoes}
    console.log('locked');
    setInterval(() => undefined, 1000);`;
  return spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
