import { linkSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { AllowedTargets } from '../../src/targets/allowed-targets.js';

let folder = '';
const at = (name: string) => path.join(folder, name);

beforeAll(() => {
  folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'allowed-')));
  mkdirSync(at('in/deep'), { recursive: true });
  mkdirSync(at('out'));
  for (const name of ['in/vm.img', 'in/a b$(x)', 'in/.hidden', 'in/deep/vm.img', 'out/vm.img']) {
    writeFileSync(at(name), '');
  }
  symlinkSync(at('out/vm.img'), at('in/link.img'));
  symlinkSync(at('in'), at('by-link'));
  linkSync(at('in/vm.img'), at('in/twin.img'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Whether globs below the folder take a file by its name there. */
async function allows(globs: readonly string[], name: string): Promise<boolean> {
  const allowed = AllowedTargets.of(globs.map(at));
  const realPath = realpathSync(at(name));
  return await allowed.include({ number: null, realPath });
}

describe('files', () => {
  it.each([
    [['in/*'], 'in/vm.img'],
    [['in/*.img'], 'in/vm.img'],
    [['in/v?.img'], 'in/vm.img'],
    [['in/*'], 'in/a b$(x)'],
    [['out/*', 'in/vm.img'], 'in/vm.img'],
    [['*/*'], 'in/vm.img'],
    [['*/deep/*'], 'in/deep/vm.img'],
    [['by-link/*'], 'in/vm.img'],
    [['by-link/*'], 'by-link/vm.img'],
    [['in/.*'], 'in/.hidden'],
    [['in/*'], 'out/../in/vm.img'],
  ])('%j allow %s', async (globs, name) => {
    expect(await allows(globs, name)).toBe(true);
  });

  it.each([
    [['in/*'], 'out/vm.img'],
    [['in/*'], 'in/link.img'],
    [['in/link.img'], 'in/link.img'],
    [['in/*'], 'in/deep/vm.img'],
    [['in/*'], 'in/.hidden'],
    [['in/*'], 'in/../out/vm.img'],
    [['in/vm'], 'in/vm.img'],
    [['in/vmximg'], 'in/vm.img'],
    [['in/[v]m.img'], 'in/vm.img'],
    [['none/*'], 'in/vm.img'],
    [[], 'in/vm.img'],
  ])('%j do not allow %s', async (globs, name) => {
    expect(await allows(globs, name)).toBe(false);
  });
});

it.each(['dev/vg/*', '', '/', '/dev/', '/dev/../*', '/dev/./x', '/dev//x', '/dev/**', '/a\0b'])(
  'the glob %j is refused',
  (glob) => {
    expect(() => AllowedTargets.of([glob])).toThrow(UsageError);
  },
);

it('no device is allowed by a file’s name', async () => {
  const allowed = AllowedTargets.of([at('in/*'), '/dev/*']);
  expect(await allowed.include({ number: '4095:1048575', realPath: at('in/vm.img') })).toBe(false);
});
