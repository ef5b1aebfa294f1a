import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandError, DeviceError, UnsafeTargetError } from '../../src/errors.js';
import type { CommandResult, Spawner } from '../../src/host/spawner.js';
import { explainNoTarget, findVolumePath } from '../../src/lvm/volume-path.js';
import { AllowedTargets } from '../../src/targets/allowed-targets.js';
import { openReadOnly, openTarget } from '../../src/targets/open-target.js';
import { quietSurroundings } from '../support/surroundings.js';

const before = process.cwd();
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'volume-path-'));
  process.chdir(folder);
  mkdirSync('vg');
  writeFileSync('vg/lv', 'a file');
});
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true });
});

/** An LVM that answers like this, or that cannot be asked. */
function lvm(answer: Partial<CommandResult> | CommandError): Spawner & { asked: number } {
  const spawner = {
    asked: 0,
    run: () => {
      spawner.asked += 1;
      if (answer instanceof CommandError) return Promise.reject(answer);
      return Promise.resolve({ status: 0, stdout: '', stderr: '', ...answer });
    },
    start: () => {
      throw new Error('nothing is started here');
    },
  };
  return spawner;
}

const inactive = {
  stdout: JSON.stringify({
    report: [{ lv: [{ lv_full_name: 'vg/off', lv_active: '', lv_merging: '', lv_attr: '-wi-------' }] }],
  }),
};
const missing = new DeviceError(
  'vg/off',
  'stat',
  null,
  Object.assign(new Error('ENOENT: gone'), { code: 'ENOENT' }),
);

describe('the path of VG/LV', () => {
  it('is that of an existing file, else that of an existing device, else the name itself', async () => {
    expect(await findVolumePath('vg/lv')).toBe('vg/lv');
    // no volume group, but of the same form
    expect(await findVolumePath('pts/ptmx')).toBe('/dev/pts/ptmx');
    for (const name of ['vg/nix', 'nix', './pts/ptmx', '/pts/ptmx', 'a/pts/ptmx']) {
      expect(await findVolumePath(name)).toBe(name);
    }
  });
});

describe('a target that is not there', () => {
  it('is reported as an inactive volume if LVM says so', async () => {
    const explained = await explainNoTarget(lvm(inactive), 'vg/off', missing);
    expect(explained).toBeInstanceOf(UnsafeTargetError);
    expect(explained).toMatchObject({
      message: 'vg/off: inactive: activate it first (lvchange -ay -K vg/off)',
    });
  });

  it('is reported unchanged if LVM knows no such volume, or is not installed', async () => {
    const none = lvm({ stdout: '{"report": [{"lv": []}]}' });
    expect(await explainNoTarget(none, 'vg/off', missing)).toBe(missing);
    const noLvm = new CommandError(['lvs'], 'not installed', {
      ...{ mayNotAsk: true, cause: Object.assign(new Error('x'), { code: 'ENOENT' }) },
    });
    expect(await explainNoTarget(lvm(noLvm), 'vg/off', missing)).toBe(missing);
  });

  it('may be a volume if LVM may not be asked; if LVM fails, the error says so', async () => {
    const denied = lvm({ status: 5, stderr: '  WARNING: Running as a non-root user.' });
    const explained = await explainNoTarget(denied, 'vg/off', missing);
    expect(explained).toBeInstanceOf(DeviceError);
    expect(explained).toMatchObject({
      message: expect.stringMatching(
        /vg\/off: .*it does not exist, or is an inactive volume.*run lvmsync as root/,
      ) as string,
    });
    const failing = await explainNoTarget(lvm({ status: 5, stderr: 'lock failed' }), 'vg/off', missing);
    expect(failing).toMatchObject({ code: 'COMMAND' });
  });

  it('does not make us ask LVM if the error is another one, or if LVM cannot have such a name', async () => {
    const spawner = lvm(inactive);
    const other = new DeviceError('vg/off', 'open', null, 'EIO');
    expect(await explainNoTarget(spawner, 'vg/off', other)).toBe(other);
    expect(await explainNoTarget(spawner, '/srv/off.img', missing)).toBe(missing);
    expect(spawner.asked).toBe(0);
  });
});

it('a client that may open only some targets learns nothing about other names: LVM is not asked, and nothing is resolved', async () => {
  const spawner = lvm(inactive);
  const env = quietSurroundings(spawner);
  const allowed = AllowedTargets.of(['/srv/none/*']);
  const opening = { stateDir: path.join(folder, 'state'), what: 'a test', sources: [], allowed };
  for (const name of ['vg/off', 'vg/lv', 'pts/ptmx']) {
    const message = `${name}: not among the targets that this receiver allows`;
    await expect(openTarget(name, opening, env)).rejects.toThrow(
      new UnsafeTargetError(name, message.slice(name.length + 2)),
    );
    await expect(openReadOnly(name, allowed, env)).rejects.toThrow(message);
  }
  expect(spawner.asked).toBe(0);
});
