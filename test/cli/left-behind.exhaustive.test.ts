import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';

const MAIN = path.join(import.meta.dirname, '../../src/cli/main.ts');

it('a remote shell that ignores SIGTERM does not outlive the run that started it', async () => {
  const place = mkdtempSync(path.join(tmpdir(), 'left-behind-'));
  onTestFinished(() => {
    rmSync(place, { recursive: true });
  });
  const [rsh, pidFile] = [path.join(place, 'rsh'), path.join(place, 'pid')];
  writeFileSync(rsh, `trap "" TERM; echo $$ >${pidFile}.new; mv ${pidFile}.new ${pidFile}; sleep 60 & wait`);
  const words = ['--import', 'tsx', MAIN, 'doctor', 'far', '--rsh', `sh ${rsh}`];
  const run = spawn(process.execPath, words, { stdio: 'ignore' });
  const ended = once(run, 'exit');
  await expect.poll(() => existsSync(pidFile), { timeout: 20_000 }).toBe(true);
  run.kill('SIGINT');
  expect(await ended).toEqual([130, null]);
  expect(existsSync(`/proc/${readFileSync(pidFile, 'utf8').trim()}`)).toBe(false);
}, 40_000);
