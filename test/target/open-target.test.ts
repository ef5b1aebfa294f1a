import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
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
import { LockedError, UnsafeTargetError } from '../../src/errors.js';
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

describe('an image file that another lvmsync may be writing', () => {
  const beside = () => ({ ...options(null), stateDir: at('other-state') });

  it('is refused whatever its state directory is, until that has ended', async () => {
    const about = quietSurroundings();
    const first = await openTarget(at('in/vm'), options(null), about);
    const second = openTarget(at('in/vm'), beside(), about);
    await expect(second).rejects.toThrow(LockedError);
    await expect(second).rejects.toThrow(`the target ${at('in/vm')} is locked by another program`);
    await first.close();
    const next = await openTarget(at('in/vm'), beside(), about);
    await next.close();
  });

  it('is opened by one at most of several that come at once', async () => {
    const about = quietSurroundings();
    const opening = ['a', 'b', 'c'].map((name) =>
      openTarget(at('in/vm'), { ...options(null), stateDir: at(name) }, about),
    );
    const outcomes = await Promise.allSettled(opening);
    const opened = outcomes.filter((each) => each.status === 'fulfilled');
    expect(opened).toHaveLength(1);
    for (const { value } of opened) await value.close();
  });

  it('is refused though the other process does not show among those that have it open for writing', async () => {
    const holder = spawn('flock', ['--no-fork', at('in/vm'), 'sh', '-c', 'echo held; exec sleep 60']);
    await once(holder.stdout, 'data');
    const about = quietSurroundings();
    await expect(openTarget(at('in/vm'), options(null), about)).rejects.toThrow(LockedError);
    holder.kill();
  });

  it('is refused to whoever comes between the first look and our own opening', async () => {
    const writers: ChildProcess[] = [];
    let asked = 0;
    const allowed: TargetLimit = {
      include: async () => {
        asked += 1;
        if (asked < 2) return true;
        const writer = spawn('sh', ['-c', 'exec 3<>"$1"; echo open; exec sleep 60', 'sh', at('in/vm')]);
        writers.push(writer);
        await once(writer.stdout, 'data');
        return true;
      },
    };
    const opening = openTarget(at('in/vm'), options(allowed), quietSurroundings());
    await expect(opening).rejects.toThrow(/vm: it is open in process \d+ \(sleep\): let that end first/);
    expect(writers).toHaveLength(1);
    for (const writer of writers) writer.kill();
  });
});
