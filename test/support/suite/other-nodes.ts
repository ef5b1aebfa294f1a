import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { cacheFolder } from '../guest/cache-folder.js';
import { runProgram, runProject } from './steps.js';
import { addTallies, EMPTY, failure, type Tally } from './tally.js';

/** One of each line of Node that users have. They come from the npm registry, once for all checkouts. */
const VERSIONS = ['20.20.2', '22.23.3', '24.21.0'];

/** What touches what differs between Nodes: processes, files, sockets, zlib, native code. The rest is arithmetic. */
const FILES = [
  ...['cli', 'jobs', 'doctor', 'reach', 'verify', 'session', 'apply', 'send', 'sources'].map(
    (room) => `test/${room}/`,
  ),
  ...['codec', 'device', 'host', 'transport'].map((room) => `test/${room}/`),
  ...['chain/prune-lock', 'archive/bad-paths', 'usage/guard'].map((name) => `test/${name}.test.ts`),
];

/** Runs the unit tests of what depends on Node on the others that users have, one after the other. */
export async function runOnOtherNodes(reportFolder: string, inCi: boolean): Promise<Tally> {
  const others = VERSIONS.filter((version) => majorOf(version) !== majorOf(process.versions.node));
  const tallies: Tally[] = [];
  for (const version of others) {
    const folder = await fetchNode(version, cacheFolder()).catch((error: unknown) => error as Error);
    if (typeof folder === 'string') {
      const { tally } = await runProject('unit', reportFolder, { files: FILES, node: { version, folder } });
      tallies.push(tally);
    } else if (inCi) {
      tallies.push(failure(`Node ${version} is not there, and with CI=true it must be: ${folder.message}`));
    } else {
      console.log(`\n!!! THE UNIT TESTS ON NODE ${version} ARE SKIPPED: ${folder.message}`);
      tallies.push({ ...EMPTY, skipped: 1 });
    }
  }
  return addTallies(tallies);
}

/**
 * Sees to it that this version of Node is in the cache, where other runs may be looking for it at the same time.
 *
 * @param npm the program that installs packages
 * @returns the folder to put first in PATH; throws an Error with the reason in one line where it cannot be had
 */
export async function fetchNode(version: string, cache: string, npm = 'npm'): Promise<string> {
  const folder = path.join(cache, `node-v${version}-linux-${process.arch}`);
  const node = path.join(folder, 'node');
  if (await isNode(node, version)) return folder;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const place = mkdtempSync(path.join(cache, 'new-'));
  try {
    const name = `node-linux-${process.arch}`;
    const words = ['install', '--prefix', place, '--no-save', '--no-package-lock', '--ignore-scripts'];
    const { status, output } = await runProgram(npm, [...words, `${name}@${version}`], 'collected');
    if (status !== 0) throw new Error(`npm install ${name}@${version}: ${lastWordsOf(output)}`);
    const fresh = path.join(place, 'node_modules', name, 'bin/node');
    chmodSync(fresh, 0o700);
    if (!(await isNode(fresh, version))) throw new Error(`${name}@${version} does not run on this machine`);
    renameSync(fresh, node);
    return folder;
  } finally {
    rmSync(place, { recursive: true });
  }
}

async function isNode(file: string, version: string): Promise<boolean> {
  const { status, output } = await runProgram(file, ['--version'], 'collected');
  return status === 0 && output.trim() === `v${version}`;
}

function majorOf(version: string): number {
  return Number.parseInt(version, 10);
}

/** npm ends with where its log lies, which tells nothing here. */
function lastWordsOf(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !line.includes('complete log'));
  return lines.at(-1)?.trim() ?? 'it said nothing';
}
