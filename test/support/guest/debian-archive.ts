import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { runTool } from './run-tool.js';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** The archive that this machine takes Debian's packages from. Throws Error where it takes them from nowhere. */
export async function debianArchive(): Promise<string> {
  const known = (await findArchive()) ?? (await runTool(['apt-get', '-q', 'update']).then(findArchive));
  if (known === null) throw new Error('apt-get knows no archive of Debian');
  return known;
}

/** Null before the first `apt-get update`, too. */
async function findArchive(): Promise<string | null> {
  const words = ['indextargets', '--format', '$(LABEL) $(REPO_URI)', 'Created-By: Packages'];
  return /^Debian (\S+)$/m.exec(await runTool(['apt-get', ...words]))?.[1] ?? null;
}

/**
 * Fetches packages of another Debian release into a folder and unpacks them there, in `unpacked`. Nothing is installed,
 * and nothing of this machine's own apt changes. Throws Error where the archive or its keyring cannot be had.
 */
export async function unpackPackages(
  release: string,
  names: readonly string[],
  folder: string,
): Promise<void> {
  const inFolder = (name: string): string => path.join(folder, name);
  for (const name of ['lists/partial', 'packages', 'unpacked'])
    mkdirSync(inFolder(name), { recursive: true });
  const archive = await debianArchive();
  writeFileSync(inFolder('sources.list'), `deb [signed-by=${KEYRING}] ${archive} ${release} main\n`);
  const settings = [
    `Dir::Etc::sourcelist=${inFolder('sources.list')}`,
    'Dir::Etc::sourceparts=-',
    `Dir::State::Lists=${inFolder('lists')}`,
    'Dir::State::status=/dev/null',
    'Dir::Cache::pkgcache=',
    'Dir::Cache::srcpkgcache=',
    // the folder is private, so apt's own user may not write to it
    'APT::Sandbox::User=root',
  ].flatMap((setting) => ['-o', setting]);
  await runTool(['apt-get', ...settings, '-q', 'update']);
  await runTool(['apt-get', ...settings, '-q', 'download', ...names], inFolder('packages'));
  const files = await runTool(['find', inFolder('packages'), '-name', '*.deb']);
  for (const file of files.trim().split('\n')) await runTool(['dpkg', '-x', file, inFolder('unpacked')]);
}
