import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

const DAY_MS = 24 * 3600 * 1000;

/**
 * Where what a guest needs and npm does not bring is kept from one run to the next, for all checkouts of this user:
 * kernels, another Debian's root, how long each test file took. All of it may be deleted; the next run makes it again.
 */
export function cacheFolder(): string {
  const caches = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const folder = path.join(caches, 'lvmsync-test');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Kernels and programs are started from it.
  if (statSync(folder).uid !== process.getuid?.()) throw new Error(`${folder}: it is another user's`);
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
  removeOldDrafts(name);
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

/** What runs that were killed left: nobody makes one thing for a day. */
function removeOldDrafts(name: string): void {
  const drafts = readdirSync(cacheFolder()).filter((each) => each.startsWith(`${name}.`));
  for (const draft of drafts.map((each) => path.join(cacheFolder(), each))) {
    if (Date.now() - statSync(draft).mtimeMs > DAY_MS) rmSync(draft, { recursive: true, force: true });
  }
}
