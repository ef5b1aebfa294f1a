import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UnsafeTargetError } from '../../src/errors.js';
import { AllowedTargets } from '../../src/target/allowed-targets.js';
import { openReadOnly, openTarget, type TargetLimit } from '../../src/target/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

let folder = '';
const at = (name: string) => path.join(folder, name);

beforeEach(() => {
  folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'open-target-')));
  for (const name of ['in', 'out']) {
    mkdirSync(at(name));
    writeFileSync(at(`${name}/vm`), name.padEnd(512));
  }
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const options = (allowed: TargetLimit | null) => ({
  ...{ stateDir: at('state'), what: 'a test', sources: [] },
  allowed,
});

describe('a name that comes to mean something else', () => {
  /** Once it was found good, the name leads out. */
  function swapping(): TargetLimit {
    const real = AllowedTargets.of([at('in/*')]);
    let asked = 0;
    return {
      include: async (target) => {
        const answer = await real.include(target);
        asked += 1;
        if (asked === 1) {
          rmSync(at('in/vm'));
          symlinkSync(at('out/vm'), at('in/vm'));
        }
        return answer;
      },
    };
  }

  it('is refused of what was opened, for writing and for reading', async () => {
    const about = quietSurroundings();
    await expect(openTarget(at('in/vm'), options(swapping()), about)).rejects.toThrow(UnsafeTargetError);
    rmSync(at('in/vm'));
    writeFileSync(at('in/vm'), 'in');
    const reading = openReadOnly(at('in/vm'), swapping(), about);
    await expect(reading).rejects.toThrow(/not among the targets that this receiver allows/);
    expect(readFileSync(at('out/vm'), 'utf8')).toBe('out'.padEnd(512));
  });
});

it('nothing is made for a target that is not allowed', async () => {
  const allowed = AllowedTargets.of([at('in/*')]);
  await expect(openTarget(at('out/vm'), options(allowed), quietSurroundings())).rejects.toThrow(
    UnsafeTargetError,
  );
  expect(readdirSync(folder).sort()).toEqual(['in', 'out']);
  const target = await openTarget(at('in/vm'), options(allowed), quietSurroundings());
  await target.close();
  expect(readdirSync(at('state/targets'))).toHaveLength(1);
});
