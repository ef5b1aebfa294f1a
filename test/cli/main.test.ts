import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { makeStore } from '../support/synthetic-store.js';

const CHUNK = 4096;
const MAIN = path.join(import.meta.dirname, '../../src/cli/main.ts');
const RSH = path.join(import.meta.dirname, '../support/fake-rsh.sh');

it('a real process on both sides prints nothing on stderr that is not ours, on any Node', () => {
  const place = mkdtempSync(path.join(tmpdir(), 'lvmsync-main-'));
  onTestFinished(() => {
    rmSync(place, { recursive: true });
  });
  const at = (name: string) => path.join(place, name);
  const base = Buffer.alloc(8 * CHUNK, 'base ');
  const origin = Buffer.from(base).fill('new! ', 3 * CHUNK, 4 * CHUNK);
  writeFileSync(at('target'), base);
  writeFileSync(at('origin'), origin);
  writeFileSync(at('cow'), makeStore({ chunkSectors: 8, exceptions: [{ oldChunk: 3 }], base }));
  const program = [process.execPath, '--import', import.meta.resolve('tsx'), MAIN];
  const far = at('lvmsync');
  writeFileSync(far, `#!/bin/sh\nexec ${program.map((word) => `'${word}'`).join(' ')} "$@"\n`, {
    mode: 0o755,
  });
  const words = ['--json', '--state-dir', at('state'), '--cow', at('cow'), '--origin', at('origin')];
  const [node = '', ...rest] = program;
  const run = spawnSync(
    node,
    [...rest, ...words, '--rsh', RSH, '--remote-path', far, `host:${at('target')}`],
    {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '', XDG_STATE_HOME: at('far-state'), HOME: place },
    },
  );
  expect(run.stderr).toBe('');
  expect(run.status).toBe(0);
  expect(JSON.parse(run.stdout)).toMatchObject({ changedBytes: CHUNK });
  expect(readFileSync(at('target'))).toBeBytes(origin);
}, 60_000);
