import { createHash } from 'node:crypto';
import { chmodSync, existsSync } from 'node:fs';
import path from 'node:path';
import { cachedFolder, cacheFolder } from './cache-folder.js';
import { debianArchive } from './debian-archive.js';
import { runTool } from './run-tool.js';

/** `own`: this machine's root file system; `debian13`: that of a fresh Debian 13. */
export type RootName = 'own' | 'debian13';

/** A root file system for a guest. */
export interface GuestRoot {
  readonly name: RootName;
  readonly path: string;
}

const OWN: GuestRoot = { name: 'own', path: '/' };

/** What the kernel tests need beside the base system; Node is this machine's. */
const PACKAGES = [
  ...['lvm2', 'thin-provisioning-tools', 'e2fsprogs', 'iproute2', 'kmod', 'netbase', 'procps', 'sudo'],
  ...['openssh-client', 'openssh-server', 'libzstd1'],
];

/** The root as far as this machine has it already; null where it has not. */
export function findRoot(name: RootName): GuestRoot | null {
  if (name === 'own') return OWN;
  const folder = path.join(cacheFolder(), debian13Name());
  return existsSync(folder) ? { name, path: folder } : null;
}

/** Makes a root ready, by debootstrap. Throws Error where that is not to be had. */
export async function prepareRoot(name: RootName): Promise<GuestRoot> {
  if (name === 'own') return OWN;
  if (findRoot(name) === null && process.getuid?.() !== 0) throw new Error('debootstrap needs root');
  return { name, path: await cachedFolder(debian13Name(), makeDebian13) };
}

/** The versions of LVM and of the thin tools that a root has, for people. */
export async function describeRoot({ path: root }: GuestRoot): Promise<string> {
  const query = ['dpkg-query', `--admindir=${path.join(root, 'var/lib/dpkg')}`, '-W'] as const;
  const format = '--showformat=${Package} ${Version}\\n';
  const versions = await runTool([...query, format, 'lvm2', 'thin-provisioning-tools']);
  // without Debian's revision
  return versions.trim().replaceAll(/-\S*$/gm, '').replaceAll('\n', ', ');
}

function debian13Name(): string {
  return `debian13-${createHash('sha256').update(PACKAGES.join()).digest('hex').slice(0, 8)}`;
}

async function makeDebian13(folder: string): Promise<void> {
  const options = ['--variant=minbase', `--include=${PACKAGES.join()}`];
  await runTool(['debootstrap', ...options, 'trixie', folder, await debianArchive()]);
  await runTool(['chroot', folder, 'apt-get', 'clean']);
  // not for this machine's root alone: others log in there
  chmodSync(folder, 0o755);
}
