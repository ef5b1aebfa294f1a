import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { bootGuest } from '../guest/boot-guest.js';
import { hasAmx, prepareKernel, type KernelName } from '../guest/guest-kernel.js';
import { describeRoot, prepareRoot, type RootName } from '../guest/guest-root.js';
import { findSystem, type GuestSystem, type SystemName } from '../guest/guest-system.js';

/** Debian's packages for the guests, each with a program that tells that it is there. */
const PACKAGES: Readonly<Record<string, string>> = {
  'user-mode-linux': 'linux.uml',
  kmod: 'modprobe',
  lvm2: 'lvcreate',
  'thin-provisioning-tools': 'thin_delta',
  iproute2: 'ip',
  'openssh-server': 'sshd',
  'openssh-client': 'ssh',
  e2fsprogs: 'mkfs.ext4',
  sudo: 'sudo',
  procps: 'pkill',
  patchelf: 'patchelf',
  debootstrap: 'debootstrap',
  gcc: 'cc',
};

/** What guests this machine can boot. */
export interface Guests {
  readonly systems: readonly GuestSystem[];
  /** Why it cannot boot others, a line for each. */
  readonly obstacles: readonly string[];
}

/**
 * Sees to it that this machine can boot the systems that are named, installing and fetching what is missing where it
 * may, and tells what it found. A kernel is tried before it is relied on.
 */
export async function prepareGuests(names: readonly SystemName[]): Promise<Guests> {
  const obstacles: string[] = [];
  const missing = missingPackages();
  const reason = missing.length === 0 ? null : installPackages(missing);
  if (reason !== null) obstacles.push(`Debian packages missing: ${missing.join(' ')} (${reason})`);
  console.log(`== processor ${hasAmx() ? 'with' : 'without'} AMX`);
  const isUsable = async (what: string, work: Promise<string>): Promise<boolean> => {
    try {
      console.log(`== ${what}: ${await work}`);
      return true;
    } catch (error) {
      obstacles.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    }
  };
  const usable: string[] = [];
  for (const kernel of distinct(names, 0) as KernelName[]) {
    if (await isUsable(`kernel ${kernel}`, tryKernel(kernel))) usable.push(kernel);
  }
  for (const root of distinct(names, 1) as RootName[]) {
    if (await isUsable(`root ${root}`, tryRoot(root))) usable.push(`/${root}`);
  }
  const systems = names
    .map((name) => findSystem(name))
    .filter((system) => system !== null)
    .filter(({ kernel, root }) => usable.includes(kernel.name) && usable.includes(`/${root.name}`));
  return { systems, obstacles };
}

/** The kernels, or the roots, of systems. */
function distinct(names: readonly SystemName[], part: 0 | 1): string[] {
  return [...new Set(names.map((name) => name.split('/')[part] ?? ''))];
}

async function tryKernel(name: KernelName): Promise<string> {
  const kernel = await prepareKernel(name);
  const {
    ended,
    status,
    console: lastWords,
  } = await bootGuest({
    ...{ command: ['true'], kernel, timeoutSeconds: 300 },
  });
  if (status !== 0) throw new Error(`a trial guest ${ended}: ${lastWords.trim().split('\n').at(-1) ?? ''}`);
  const shim = kernel.preload === null ? '' : ', with a shim for AMX';
  return `Linux ${kernel.version}${shim}`;
}

async function tryRoot(name: RootName): Promise<string> {
  return describeRoot(await prepareRoot(name));
}

/** Null when all went well, else why not. */
function installPackages(missing: readonly string[]): string | null {
  if (process.getuid?.() !== 0) return 'installing them needs root';
  console.log(`\n== install ${missing.join(' ')}`);
  for (const words of [['update'], ['install', '-y', '--no-install-recommends', ...missing]]) {
    const { status, error } = spawnSync('apt-get', ['-q', ...words], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (status !== 0) return `apt-get ${words[0] ?? ''}: ${error?.message ?? `status ${status ?? 'none'}`}`;
  }
  return missingPackages().length === 0 ? null : 'still, after apt-get install';
}

function missingPackages(): string[] {
  return Object.entries(PACKAGES)
    .filter(([, program]) => !isInstalled(program))
    .map(([name]) => name);
}

/** An ordinary user's PATH leaves out where most of them lie. */
function isInstalled(program: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders.some((folder) => {
    try {
      accessSync(path.join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
