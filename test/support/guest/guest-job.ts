import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { GuestKernel } from './guest-kernel.js';
import type { GuestRoot } from './guest-root.js';

/** A fresh zeroed disk of a size such as `64M` or `2G`, or the path of an existing image file. */
export type GuestDisk = string;

/** What a guest is to run. */
export interface GuestJob {
  /** Program and arguments, run as root inside; no shell. */
  readonly command: readonly [string, ...string[]];
  /** `/dev/ubda`, `/dev/ubdb`, …; none by default. */
  readonly disks?: readonly GuestDisk[];
  /** Where the command runs; the folder of this process by default. */
  readonly folder?: string;
  /** The kernel that it boots; the fastest one that this machine has, by default. */
  readonly kernel?: GuestKernel;
  /** Its root file system; this machine's own by default. */
  readonly root?: GuestRoot;
  /** Added to the guest's own few variables. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Wall time for everything, boot included; 120 by default. */
  readonly timeoutSeconds?: number;
  /** The guest's memory; 1024 by default. */
  readonly memoryMiB?: number;
  /** Called with pieces of the output as they come, some tenths of a second late. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', piece: Buffer) => void;
}

/** The private folder of one guest, seen by both sides under the same path. */
export interface JobFolder {
  readonly path: string;
  readonly diskArguments: readonly string[];
}

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');

/** Writes a job where `guest-init` finds it. The caller removes the folder. */
export function layOutJob(job: GuestJob, kernel: GuestKernel): JobFolder {
  const folder = mkdtempSync(path.join(sharedTemporaryFolder(), 'lvmsync-guest-'));
  const inFolder = (name: string): string => path.join(folder, name);
  // A copy, because a kernel command line cannot hold a path with blanks in it.
  copyFileSync(path.join(import.meta.dirname, 'guest-init'), inFolder('guest-init'));
  copyFileSync(path.join(import.meta.dirname, 'guest-fstab'), inFolder('fstab'));
  mkdirSync(inFolder('dev'));
  symlinkSync('/proc/self/fd', inFolder('dev/fd'));
  for (const [fd, name] of ['stdin', 'stdout', 'stderr'].entries()) {
    symlinkSync(`fd/${fd}`, inFolder(`dev/${name}`));
  }
  const environment = { PATH: guestPath(), ...job.environment };
  writeFileSync(inFolder('command'), words(job.command));
  writeFileSync(inFolder('environment'), words(Object.entries(environment).map((pair) => pair.join('='))));
  writeFileSync(inFolder('folder'), job.folder ?? process.cwd());
  writeFileSync(inFolder('modules'), kernel.modules);
  if (job.root !== undefined && job.root.path !== '/') {
    writeFileSync(inFolder('root'), job.root.path);
    // what both sides see under the same paths; this machine's Node, as another system's own may not run there
    writeFileSync(
      inFolder('shared'),
      words([sharedTemporaryFolder(), CHECKOUT, process.execPath, kernel.modules]),
    );
  }
  for (const name of ['out', 'err', 'console']) writeFileSync(inFolder(name), '');
  const diskArguments = (job.disks ?? []).map((disk, index) => {
    const image = inFolder(`disk${index}`);
    if (disk.includes('/')) symlinkSync(path.resolve(disk), image);
    else makeFreshDisk(image, disk);
    // d: never taken for a copy-on-write file of User-Mode Linux, whatever it holds
    return `ubd${index}d=${image}`;
  });
  return { path: folder, diskArguments };
}

/** The exit status that the guest left, or null where it ended without one. */
export function readStatus(folder: JobFolder): number | null {
  try {
    return Number(readFileSync(path.join(folder.path, 'status'), 'utf8'));
  } catch {
    return null;
  }
}

function makeFreshDisk(image: string, size: string): void {
  const [, digits, unit] = /^(\d+)([KMG])$/.exec(size) ?? [];
  if (digits === undefined || unit === undefined) throw new Error(`${size}: not a disk size such as 64M`);
  writeFileSync(image, '');
  truncateSync(image, Number(digits) * 1024 ** ('KMG'.indexOf(unit) + 1));
}

function words(list: readonly string[]): string {
  return list.map((word) => `${word}\0`).join('');
}

/** The guest mounts its own over /run and /dev: nothing there is seen by both sides. */
export function sharedTemporaryFolder(): string {
  return /^\/(run|dev|proc|sys)(\/|$)/.test(tmpdir()) ? '/var/tmp' : tmpdir();
}

function guestPath(): string {
  const system = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  return ['/run/bin', path.dirname(process.execPath), ...system].join(':');
}
