import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { bootGuest } from '../guest/boot-guest.js';

/** Debian's packages for the guest, each with a program that tells that it is there. */
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
};

/**
 * Sees to it that this machine can boot a guest, installing what is missing where it may.
 *
 * @returns null when one booted, else the reason in one line.
 */
export async function prepareGuests(): Promise<string | null> {
  const missing = missingPackages();
  if (missing.length > 0) {
    const reason = installPackages(missing);
    if (reason !== null) return `Debian packages missing: ${missing.join(' ')} (${reason})`;
  }
  try {
    const { ended, status, console: lastWords } = await bootGuest({ command: ['true'], timeoutSeconds: 300 });
    if (status === 0) return null;
    return `a trial guest ${ended}: ${lastWords.trim().split('\n').at(-1) ?? ''}`;
  } catch (error) {
    return `a trial guest cannot be started: ${error instanceof Error ? error.message : String(error)}`;
  }
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
