import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchNode } from '../support/suite/other-nodes.js';

const VERSION = '22.0.1';
const NAME = `node-linux-${process.arch}`;
let [place, cache, npm] = ['', '', ''];
beforeEach(() => {
  place = mkdtempSync(path.join(tmpdir(), 'lvmsync-nodes-'));
  [cache, npm] = [path.join(place, 'cache/lvmsync-test'), path.join(place, 'npm')];
});
afterEach(() => {
  rmSync(place, { recursive: true });
});

/** An npm that notes its words and installs a "node" that says this version. */
function writeNpm(says: string): void {
  script(npm, [
    `echo "$@" >>${place}/asked`,
    `bin="$3/node_modules/${NAME}/bin"`,
    'mkdir -p "$bin"',
    `printf '#!/bin/sh\\necho ${says}\\n' >"$bin/node"`,
    'chmod 755 "$bin/node"',
  ]);
}

function script(file: string, lines: readonly string[]): void {
  writeFileSync(file, ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(file, 0o755);
}

const asked = () => readFileSync(path.join(place, 'asked'), 'utf8').trim().split('\n');

describe('another Node', () => {
  it('is installed once, in exactly that version, in a folder that only its owner can use', async () => {
    writeNpm(`v${VERSION}`);
    const folder = await fetchNode(VERSION, cache, npm);
    expect(await fetchNode(VERSION, cache, npm)).toBe(folder);
    expect(asked()).toEqual([expect.stringMatching(` --ignore-scripts ${NAME}@${VERSION}$`)]);
    expect(readdirSync(cache)).toEqual([path.basename(folder)]);
    expect(readdirSync(folder)).toEqual(['node']);
    expect(statSync(cache).mode & 0o777).toBe(0o700);
  });

  it('is installed by several runs at once, in whatever order they end', async () => {
    writeNpm(`v${VERSION}`);
    const folders = await Promise.all([1, 2, 3].map(() => fetchNode(VERSION, cache, npm)));
    expect(new Set(folders).size).toBe(1);
    expect(readdirSync(cache)).toEqual([path.basename(folders[0] ?? '')]);
  });

  it('that does not run because its installation was cut short is installed again', async () => {
    writeNpm(`v${VERSION}`);
    const folder = path.join(cache, `node-v${VERSION}-linux-${process.arch}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'node'), '');
    expect(await fetchNode(VERSION, cache, npm)).toBe(folder);
    expect(asked()).toHaveLength(1);
  });

  it('that cannot be installed is reported with npm’s last words, and leaves nothing that would be mistaken for it', async () => {
    script(npm, [
      'echo "npm error network: no such host"',
      'echo "npm error A complete log of this run: x"',
      'exit 1',
    ]);
    await expect(fetchNode(VERSION, cache, npm)).rejects.toThrow(
      `${NAME}@${VERSION}: npm error network: no such host`,
    );
    writeNpm('v21.0.0');
    await expect(fetchNode(VERSION, cache, npm)).rejects.toThrow('does not run on this machine');
    expect(readdirSync(cache).filter((name) => name.startsWith('new-'))).toEqual([]);
    writeNpm(`v${VERSION}`);
    await fetchNode(VERSION, cache, npm);
  });
});
