import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { findLockWait, isFileLocked, parseLocks } from '../../src/host/file-locks.js';
import { parseSemaphores } from '../../src/host/udev.js';

describe('/proc/locks', () => {
  // A writer waits for LVM's lock, with its helper lock held, for which a reader waits (Linux 6.1).
  const LOCKS = [
    '1: FLOCK  ADVISORY  WRITE 849 00:14:71 0 EOF',
    '1: -> FLOCK  ADVISORY  WRITE 851 00:14:71 0 EOF',
    '2: POSIX  ADVISORY  READ 12 08:01:64 0 1073741826',
    '3: FLOCK  ADVISORY  WRITE 832 00:14:64 0 EOF',
    '3: -> FLOCK  ADVISORY  WRITE 847 00:14:64 0 EOF',
    '3:  -> FLOCK  ADVISORY  WRITE 849 00:14:64 0 EOF',
    '',
  ].join('\n');

  it('distinguishes holders from waiting processes, at any depth', () => {
    expect(parseLocks(LOCKS).map(({ pid, isWaiting }) => [pid, isWaiting])).toEqual([
      [849, false],
      [851, true],
      [12, false],
      [832, false],
      [847, true],
      [849, true],
    ]);
    expect(parseLocks(LOCKS)[0]?.file).toBe('00:14:71');
  });

  it('says nothing about locks that it does not know', () => {
    expect(parseLocks('1: something else\n\n')).toEqual([]);
  });
});

it('of processes that wait for each other, the one that all wait for is named', async () => {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'lvmsync-locks-')));
  const [first, second] = [path.join(folder, 'first'), path.join(folder, 'second')];
  const started: ChildProcess[] = [];
  /** Without a fork, each process has its own locks, and those that it waits for. */
  const lock = (...words: readonly string[]): number => {
    const child = spawn('flock', ['--no-fork', ...words]);
    started.push(child);
    return child.pid ?? 0;
  };
  try {
    const holder = lock(first, 'sleep', '60');
    await vi.waitUntil(() => isFileLocked(statSync(first, { throwIfNoEntry: false })?.ino ?? 0));
    const between = lock(second, 'flock', '--no-fork', first, 'true');
    await vi.waitUntil(() => findLockWait(between) !== null);
    const last = lock(second, 'true');
    await vi.waitUntil(() => findLockWait(last) !== null);
    expect(findLockWait(last)).toEqual({ path: first, holders: [`process ${holder} (sleep 60)`] });
    expect(findLockWait(holder)).toBeNull();
  } finally {
    for (const child of started) child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
});

it('udev’s semaphores are distinguished from others', () => {
  // Of LVM 2.03.16 that waits for a udev that died (Linux 6.1); the second one is a stranger's.
  const text = [
    '       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime',
    ' 223181680          0   600          1     0     0     0     0 1796053924 1796053924',
    '   1234567          1   600          1     0     0     0     0 1796053924 1796053999',
    '',
  ].join('\n');
  expect(parseSemaphores(text)).toEqual([{ name: '0xd4d7b70', semid: 0, madeAt: 1_796_053_924 }]);
});
