import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * Makes a fresh clone ready to run: for `npm test`, `npm run demo` and `npm run bench`. Plain JavaScript without
 * packages, as it runs before there are any.
 */

const CHECKOUT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Installs the packages of package-lock.json unless exactly those are there. Throws where npm fails. */
export function ensureInstalled() {
  if (isInstalled()) return;
  // `npm ci` removes node_modules first, from under another run that uses it: it is for where there is none.
  const words = modifiedAt('node_modules') === null ? ['ci'] : ['install', '--no-save'];
  runNpm('install the packages', words);
}

/** Builds dist/ unless it is newer than all that it is made of. Throws where the sources do not compile. */
export function ensureBuilt() {
  if (!isBuilt()) runNpm('build', ['run', '--silent', 'build']);
}

/** Runs a TypeScript file of the checkout to its end; tells its exit status. */
export function runScript(script, words) {
  const argv = ['--import', 'tsx', script, ...words];
  return spawnSync(process.execPath, argv, { cwd: CHECKOUT, stdio: 'inherit' }).status ?? 1;
}

function isInstalled() {
  const wanted = readJson('package-lock.json')?.packages ?? {};
  const installed = readJson('node_modules/.package-lock.json')?.packages;
  if (installed === undefined) return false;
  return Object.entries(wanted).every(([folder, { version, optional }]) => {
    if (folder === '') return true;
    const there = installed[folder];
    // Optional packages are those of other machines: npm leaves them out.
    return there === undefined ? optional === true : there.version === version;
  });
}

function isBuilt() {
  const built = modifiedAt('dist/program/main.js');
  const sources = readdirSync(join(CHECKOUT, 'src'), { recursive: true }).map((name) => join('src', name));
  const made = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'src', ...sources];
  return built !== null && made.every((name) => (modifiedAt(name) ?? 0) <= built);
}

function runNpm(purpose, words) {
  console.log(`== ${purpose}: npm ${words.join(' ')}`);
  const { status, error } = spawnSync('npm', words, {
    cwd: CHECKOUT,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) {
    throw new Error(`cannot ${purpose}: npm ${words[0]} ended with ${error?.message ?? `status ${status}`}`);
  }
}

function readJson(name) {
  try {
    return JSON.parse(readFileSync(join(CHECKOUT, name), 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function modifiedAt(name) {
  try {
    return statSync(join(CHECKOUT, name)).mtimeMs;
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}
