import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

interface LockEntry {
  readonly resolved?: string;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const lock = readJson('package-lock.json') as { readonly packages: Readonly<Record<string, LockEntry>> };
const manifest = readJson('package.json') as { readonly allowScripts: Readonly<Record<string, boolean>> };
const entries = Object.entries(lock.packages);

describe('the lock file', () => {
  it('has every package that one of its entries names, also those for other platforms', () => {
    // `npm ci` refuses it otherwise.
    const missing = entries.flatMap(([folder, { dependencies, devDependencies, optionalDependencies }]) =>
      Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })
        .filter((name) => !isFoundFrom(folder, name))
        .map((name) => `${folder} needs ${name}`),
    );
    expect(missing).toEqual([]);
    expect(entries.length).toBeGreaterThan(100);
  });

  it('names no registry', () => {
    expect(entries.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
    expect(JSON.stringify(lock)).not.toMatch(/"https?:[^"]*\.tgz"/);
  });
});

it('every package with an install script, and no other, is listed with whether the script may run', () => {
  // npm 12 runs none that is not allowed, and lists those of which nothing is said.
  const withScript = entries
    .filter(([, { hasInstallScript }]) => hasInstallScript === true)
    .map(([folder]) => nameOf(folder));
  expect(Object.keys(manifest.allowScripts).sort()).toEqual(withScript.sort());
});

/** As Node looks for a package: beside the one that needs it, then in each folder above. */
function isFoundFrom(folder: string, name: string): boolean {
  for (let at = folder; ; at = at.slice(0, Math.max(at.lastIndexOf('/node_modules/'), 0))) {
    if (Object.hasOwn(lock.packages, `${at === '' ? '' : `${at}/`}node_modules/${name}`)) return true;
    if (at === '') return false;
  }
}

function nameOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(path.resolve(import.meta.dirname, '..', name), 'utf8'));
}
