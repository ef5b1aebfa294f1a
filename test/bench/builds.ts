import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { UsageError } from './arguments.js';
import { findDisk, undoAtExit } from './workplace.js';

/** An lvmsync that can be run. */
export interface Build {
  /** The checkout's own, or the one beside it. */
  readonly name: 'this' | 'other';
  /** What starts it. */
  readonly program: string;
}

/** What a checkout with packages and a build takes. Bytes. */
const SPACE_NEEDED = 2 ** 30;
const CHECKOUT = path.resolve(import.meta.dirname, '../..');

/** lvmsync as users run it. */
export const LVMSYNC = path.join(CHECKOUT, 'bin/lvmsync.js');
export const THIS_BUILD: Build = { name: 'this', program: LVMSYNC };

/** A commit of this repository, by its full name. */
export function resolveCommit(commit: string): string {
  try {
    return git('rev-parse', '--verify', '--quiet', `${commit}^{commit}`);
  } catch {
    throw new UsageError(`--against ${commit}: this repository has no such commit`);
  }
}

/** Such as "b47163b errors: whether a call failed …". */
export function describeCommit(commit: string): string {
  return git('log', '-1', '--format=%h %s', commit);
}

/** Such as "c710aab", with a word where files differ from it. */
export function describeCheckout(): string {
  return git('describe', '--always', '--dirty');
}

/** Checks a commit out beside this checkout and builds it; the copy is removed when the bench ends. */
export function buildOther(commit: string): Build {
  const place = findDisk(SPACE_NEEDED);
  if (typeof place === 'string') throw new Error(`no place to build ${commit}: ${place}`);
  const folder = path.join(place.folder, 'build');
  mkdirSync(folder);
  git('worktree', 'add', '--quiet', '--detach', folder, commit);
  undoAtExit(() => {
    git('worktree', 'remove', '--force', folder);
  });
  if (sameFile(path.join(CHECKOUT, 'package-lock.json'), path.join(folder, 'package-lock.json'))) {
    symlinkSync(path.join(CHECKOUT, 'node_modules'), path.join(folder, 'node_modules'));
  } else {
    // not `ci`, which refuses the lock files of other versions of npm
    run(folder, ['npm', 'install', '--no-save', '--prefer-offline', '--no-audit', '--no-fund']);
  }
  run(folder, ['npm', 'run', '--silent', 'build']);
  return { name: 'other', program: path.join(folder, 'bin/lvmsync.js') };
}

function sameFile(one: string, other: string): boolean {
  return existsSync(other) && readFileSync(one).equals(readFileSync(other));
}

function git(...words: readonly string[]): string {
  return run(CHECKOUT, ['git', ...words]);
}

/** Throws with what the program said where it fails. */
function run(folder: string, argv: readonly [string, ...string[]]): string {
  const [program, ...words] = argv;
  const { status, error, stdout, stderr } = spawnSync(program, words, { cwd: folder, encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${argv.join(' ')} in ${folder} failed:\n${stdout}${stderr}`.trimEnd());
  return stdout.trim();
}
