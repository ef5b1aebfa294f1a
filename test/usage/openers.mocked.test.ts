import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

/** What /proc says, where a test says it; and the paths whose status was asked for. */
const told = vi.hoisted(() => ({ mounts: '', isGone: false, asked: [] as string[] }));
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  return {
    ...real,
    readFileSync: (path: string, how: 'utf8') => {
      if (path === '/proc/self/mountinfo') return told.mounts;
      if (told.isGone && path.includes('/fdinfo/')) throw new Error('ENOENT');
      return real.readFileSync(path, how);
    },
    statSync: (path: string, how: object) => {
      told.asked.push(real.readlinkSync(path));
      return real.statSync(path, how);
    },
  };
});
const { findOpener } = await import('../../src/usage/openers.js');

let place = '';
const openers: ChildProcess[] = [];
beforeEach(() => {
  Object.assign(told, { mounts: '', isGone: false, asked: [] });
  place = realpathSync(mkdtempSync(join(tmpdir(), 'lvmsync-openers-')));
  for (const folder of ['own', 'far']) {
    mkdirSync(join(place, folder));
    writeFileSync(join(place, folder, 'image'), '');
  }
});
afterEach(() => {
  for (const opener of openers.splice(0)) opener.kill('SIGKILL');
  rmSync(place, { recursive: true });
});

const farMount = (folder: string) =>
  `48 28 0:42 / ${join(place, folder)} rw - nfs4 server:/${folder} rw,hard\n`;

async function open(file: string, how: '<' | '<>'): Promise<void> {
  const opener = spawn('bash', ['-c', `exec 3${how}"$1"; echo open; exec sleep 60`, 'opener', file]);
  openers.push(opener);
  await once(opener.stdout, 'data');
}

function look(file: string): string | null {
  const { dev, ino } = lstatSync(file);
  told.asked = [];
  return findOpener({ dev, ino }, 'writers', file);
}

it('a file server that may be away is not asked about files, except for those beside the target itself', async () => {
  const [own, far] = [join(place, 'own/image'), join(place, 'far/image')];
  told.mounts = farMount('own') + farMount('far');
  await open(own, '<>');
  await open(far, '<>');
  expect(look(own)).toMatch(/^open in process \d+ \(sleep\)/);
  expect(told.asked).toContain(own);
  expect(told.asked).not.toContain(far);
});

it('an open file whose flags cannot be read counts as open for writing', async () => {
  const file = join(place, 'own/image');
  await open(file, '<');
  expect(look(file)).toBeNull();
  told.isGone = true;
  expect(look(file)).toMatch(/^open in process \d+ \(sleep\)/);
});
