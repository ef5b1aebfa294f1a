import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeStore } from '../../support/synthetic-store.js';
import { CHUNK, states } from './states.js';

/*
 * Makes the archives of this folder by a build of lvmsync, which they are to be read by for as long as there is one:
 *   unshare --uts sh -c 'hostname vm1 && npx tsx test/chain/made-before/make.ts BUILD/bin/lvmsync.js'
 * Only ever add files: those that are here were made by the build of their README.
 */
const [program = ''] = process.argv.slice(2);
const here = import.meta.dirname;
const work = '/tmp/made-before';
rmSync(work, { recursive: true, force: true });
mkdirSync(join(work, 'undo'), { recursive: true });
process.chdir(work);
const run = (...words: string[]) =>
  execFileSync(process.execPath, [program, ...words], { maxBuffer: 1 << 24 });

const [first, second, third] = states;
for (const [name, base, volume] of [
  ['s1-s2', first, second],
  ['s2-s3', second, third],
] as const) {
  const exceptions = Array.from({ length: volume.length / CHUNK }, (_, oldChunk) => ({ oldChunk })).filter(
    ({ oldChunk }) => {
      const at = oldChunk * CHUNK;
      return !base.subarray(at, at + CHUNK).equals(volume.subarray(at, at + CHUNK));
    },
  );
  writeFileSync('cow', makeStore({ chunkSectors: CHUNK / 512, exceptions, base }));
  writeFileSync('volume', volume);
  const sides = ['--cow', 'cow', '--origin', 'volume'];
  const stream = run(...sides, '--stdout');
  writeFileSync(join(here, `${name}.proto3`), run(...sides, '--stdout', '--protocol', '3'));
  writeFileSync(join(here, `${name}.changes`), stream);
  run('snapback', ...sides, '--force', 'writable', '--out', join(here, `${name}.snapback`));
}
writeFileSync('target', first);
for (const name of ['s1-s2', 's2-s3']) {
  run('--apply', join(here, `${name}.changes`), 'target', '-b', `undo/${name}`, '--state-dir', 'state');
  execFileSync('cp', [`undo/${name}`, join(here, `${name}.undo`)]);
}
for (const codec of ['none', 'zstd', 'brotli', 'zlib']) {
  const out = join(here, `s1-s3.${codec}.undo`);
  run('combine', 'undo/s2-s3', 'undo/s1-s2', '--force', 'base', '--codec', codec, '--out', out);
}
