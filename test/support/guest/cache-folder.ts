import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

/**
 * Where what a guest needs and npm does not bring is kept from one run to the next, for all checkouts of this user:
 * kernels, another Debian's root, how long each test file took. All of it may be deleted; the next run makes it again.
 */
export function cacheFolder(): string {
  const caches = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const folder = path.join(caches, 'lvmsync-test');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/**
 * Makes a folder of the cache, or takes the one that is there: another run finds all of it or nothing.
 *
 * @param make fills the folder that it is given; what it throws is thrown, and nothing is left
 * @returns its path
 */
export async function cachedFolder(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const place = path.join(cacheFolder(), name);
  if (existsSync(place)) return place;
  const draft = mkdtempSync(`${place}.`);
  try {
    await make(draft);
    renameSync(draft, place);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    // another run was faster
    if (!existsSync(place)) throw error;
  }
  return place;
}
