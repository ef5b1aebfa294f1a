import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { cachedFolder, cacheFolder } from './cache-folder.js';
import { unpackPackages } from './debian-archive.js';
import { runTool } from './run-tool.js';

/** `own`: that of this system's user-mode-linux package; `newer`: that of Debian's next release. */
export type KernelName = 'own' | 'newer';

/** A User-Mode-Linux kernel that this machine can boot. */
export interface GuestKernel {
  readonly name: KernelName;
  /** Such as `6.1.176`. */
  readonly version: string;
  readonly program: string;
  /** The folder that holds a folder of modules for its version. */
  readonly modules: string;
  /** What its command line needs. */
  readonly words: readonly string[];
  /** A library to preload into it; null: none. */
  readonly preload: string | null;
}

const OWN_MODULES = '/usr/lib/uml/modules';
const NEWER = 'user-mode-linux-forky';
const SHIM = path.join(import.meta.dirname, 'xstate-shim.c');

/** The kernel as far as this machine has it already; null where it has not. */
export function findKernel(name: KernelName): GuestKernel | null {
  return name === 'own' ? ownKernel() : newerKernel(path.join(cacheFolder(), NEWER));
}

/** The fastest one that this machine has already. Throws Error where it has none. */
export function usualKernel(): GuestKernel {
  const kernel = findKernel('newer') ?? findKernel('own');
  if (kernel === null) throw new Error('no User-Mode-Linux kernel: install the package user-mode-linux');
  return kernel;
}

/** Gets a kernel ready on this machine, fetching or compiling what it needs. Throws Error where that is not to be had. */
export async function prepareKernel(name: KernelName): Promise<GuestKernel> {
  if (name === 'newer') return required(newerKernel(await cachedFolder(NEWER, fetchNewerKernel)));
  if (hasAmx()) await prepareShim();
  return required(ownKernel());
}

/** Compiles the shim for AMX, where that is not done yet. Returns its place; throws Error without a C compiler. */
export async function prepareShim(): Promise<string> {
  if (!existsSync(shimPlace())) await compileLibrary(SHIM, shimPlace());
  return shimPlace();
}

/** Compiles a C file to a library that can be preloaded. Throws Error with the compiler's words. */
export async function compileLibrary(source: string, place: string): Promise<void> {
  const draft = `${place}.${process.pid}`;
  await runTool(['cc', '-O2', '-Wall', '-shared', '-fPIC', '-o', draft, source, '-ldl']);
  renameSync(draft, place);
}

/** Whether this machine's processor has AMX, whose registers Linux 6.1 as a guest cannot take back from its host. */
export function hasAmx(): boolean {
  return /^flags\b.*\bamx_tile\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
}

function required(kernel: GuestKernel | null): GuestKernel {
  if (kernel === null) throw new Error('the package user-mode-linux is not as it was');
  return kernel;
}

function ownKernel(): GuestKernel | null {
  const version = versionIn(OWN_MODULES);
  const shim = hasAmx() ? shimPlace() : null;
  if (version === null || (shim !== null && !existsSync(shim))) return null;
  return { name: 'own', version, program: 'linux.uml', modules: OWN_MODULES, words: [], preload: shim };
}

function newerKernel(folder: string): GuestKernel | null {
  const modules = path.join(folder, 'unpacked', OWN_MODULES);
  const version = versionIn(modules);
  if (version === null) return null;
  return {
    ...{ name: 'newer', version, program: path.join(folder, 'linux'), modules, preload: null },
    // it then needs no ptrace(2), which takes half of the time of its processes
    words: ['seccomp=on'],
  };
}

function versionIn(modules: string): string | null {
  return existsSync(modules) ? (readdirSync(modules)[0] ?? null) : null;
}

/**
 * The next release's kernel wants a newer C library than this system has. It gets its own: started by that library's
 * loader it would not work, as it executes itself anew by /proc/self/exe.
 */
async function fetchNewerKernel(folder: string): Promise<void> {
  await unpackPackages('forky', ['user-mode-linux', 'libc6'], folder);
  const kernel = path.join(folder, 'linux');
  copyFileSync(path.join(folder, 'unpacked/usr/bin/linux.uml'), kernel);
  // by the folder's name to be
  const libraries = path.join(cacheFolder(), NEWER, 'unpacked/usr/lib/x86_64-linux-gnu');
  const loader = path.join(libraries, 'ld-linux-x86-64.so.2');
  await runTool(['patchelf', '--set-interpreter', loader, '--set-rpath', libraries, kernel]);
  for (const name of ['packages', 'lists']) rmSync(path.join(folder, name), { recursive: true });
}

function shimPlace(): string {
  const source = createHash('sha256').update(readFileSync(SHIM)).digest('hex').slice(0, 12);
  return path.join(cacheFolder(), `xstate-shim-${source}.so`);
}
