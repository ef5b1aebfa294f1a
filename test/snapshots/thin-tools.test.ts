import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandError } from '../../src/errors.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { findThinDelta, judgeThinDelta } from '../../src/snapshots/thin-tools.js';
import { quietSurroundings } from '../support/surroundings.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'thin-tools-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Looks for a thin_delta that is this script, and can do nothing else. */
function find(script: string | null) {
  const program = path.join(folder, 'thin_delta');
  rmSync(program, { force: true });
  if (script !== null) {
    writeFileSync(program, `#!/bin/sh\n${script}\n`);
    chmodSync(program, 0o755);
  }
  const spawner = new ProcessSpawner({ PATH: folder });
  // Without what ProcessSpawner adds: this machine's own is not meant.
  const start = ([name, ...words]: readonly [string, ...string[]]) =>
    spawner.start([path.join(folder, name), ...words]);
  return findThinDelta(quietSurroundings({ run: (argv) => spawner.run(argv), start }));
}

describe('thin_delta', () => {
  // What -V prints: 0.9.0 and 1.1.0 as on Debian 12 and 13; 1.0.0 to 1.0.11 put their name before it.
  it.each([
    ['0.9.0\n', '0.9.0'],
    ['0.9.1\n', '0.9.1'],
    ['thin_delta 1.0.6\n', '1.0.6'],
    ['thin_delta 1.0.11\n', '1.0.11'],
    ['1.0.12\n', '1.0.12'],
    ['1.1.0\n', '1.1.0'],
    ['1.10\n', '1.10'],
    ['2.0.0\n', '2.0.0'],
  ])('that says %j is trusted', async (said, version) => {
    expect(judgeThinDelta(said)).toEqual({ version, problem: null });
    expect(await find(`printf '${said.trim()}\\n'`)).toEqual({ version });
  });

  it.each([
    ['thin_delta 1.0.0\n', '1.0.0', /reports changed blocks as unchanged/],
    ['thin_delta 1.0.5\n', '1.0.5', /reports changed blocks as unchanged/],
    ['1.0.5\n', '1.0.5', /reports changed blocks as unchanged/],
    ['1.0\n', '1.0', /reports changed blocks as unchanged/],
    ['0.8.5\n', '0.8.5', /was not tested with any version before 0\.9\.0/],
    ['0.10.0\n', '0.10.0', null],
  ])('that says %j is judged by its version number', (said, version, problem) => {
    const judged = judgeThinDelta(said);
    expect(judged.version).toBe(version);
    if (problem === null) expect(judged.problem).toBeNull();
    else expect(judged.problem).toMatch(problem);
  });

  it('of a version that is known to be wrong is refused, with the reason and the ways out', async () => {
    const finding = find(`[ "$*" = -V ] && echo thin_delta 1.0.5`);
    await expect(finding).rejects.toThrow(CommandError);
    await expect(finding).rejects.toThrow(
      /^thin_delta -V: version 1\.0\.5 cannot be trusted: it reports changed blocks as unchanged if .* pool: install version 1\.0\.6 or newer .*"lvmsync --scan", or "lvmsync copy --seed"$/,
    );
  });

  it.each([
    ['says nothing', ':', /does not report its version \(it prints ""\): install version 1\.0\.6/],
    ['says something else', 'echo pdata_tools', /does not report its version \(it prints "pdata_tools"\)/],
    ['says it of another program', 'echo busybox 1.36.1', /does not report its version/],
    ['says more numbers', 'echo 1.0.6.2', /does not report its version/],
    ['fails', 'echo 1.1.0; echo "no such option" >&2; exit 2', /it failed \(status 2\): no such option/],
    ['never ends what it says', 'while :; do echo 1.1.0; done', /it prints more than its version: install/],
    ['is not there', null, /not installed: it comes with thin-provisioning-tools/],
  ])('that %s is refused: a version that cannot be asked is not trusted', async (_, script, message) => {
    const finding = find(script);
    await expect(finding).rejects.toThrow(CommandError);
    await expect(finding).rejects.toThrow(message);
  });
});
