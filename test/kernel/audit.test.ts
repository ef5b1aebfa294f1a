import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { copyDevice, mapDevice, unmapDevices } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  lvmsync,
  mapperName,
  run,
  startSshd,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { reportOf, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { lv, ThinLab } from './support/thin-lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-audit';
const MIB = 1024 * 1024;

let sshd: Sshd;
useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(() => sshd.stop());

/** What the doctor finds, without the names. */
const examine = (target: string) => runLvmsync('doctor', target);

/**
 * Writes past what the kernel counts of a target, by the disk below it, until a run's own sample does not meet it, so that
 * the audit must; returns that run.
 */
async function strayFoundByAudit(target: string, offset: number, words: readonly string[]) {
  const below = await mapDevice('below', await run(['dmsetup', 'table', mapperName(GROUP, 'target')]));
  try {
    for (let tries = 0; ; tries++) {
      await writeRandom(below, offset + tries * 8192, 512, 'someone else');
      const result = await lvmsync([...words, '--audit', '100', '--json']);
      if (result.status !== 7 || tries === 3) return result;
      // the sample refused it, and nothing was written: "--scan" is what it asks for
      await runLvmsync('--scan', words[0] ?? '', target, '--force', 'base');
    }
  } finally {
    await unmapDevices('below');
  }
}

describe('audits of a third', () => {
  const origin = `/dev/${GROUP}/origin`;
  let target = '';
  let start = '';
  beforeAll(async () => {
    await createVolume(GROUP, 'origin', '8M');
    target = await createVolume(GROUP, 'target', '8M');
    await writeRandom(origin, 0, 8 * MIB, 'base');
    await createSnapshot(GROUP, 'origin', 'snap', { size: '8M' });
    await copyDevice(`/dev/${GROUP}/snap`, target);
  });

  it('over ssh prove in three runs a target that nothing was known about, and the doctor shows how far they are', async () => {
    const words = [`${GROUP}/snap`, `root@127.0.0.1:${target}`, '--audit', '34'];
    for (const [round, bytes] of [3 * MIB, 6 * MIB].entries()) {
      await writeRandom(origin, round * 20_480, 8192, `round ${round}`);
      const report = await reportOf(...words);
      const verified = { bytes, share: bytes / (8 * MIB), since: expect.stringMatching(/Z$/) as string };
      expect(report).toMatchObject({ mismatches: 0, verified });
      start ||= (report['verified'] as { since: string }).since;
      expect(report).toMatchObject({ verified: { since: start } });
    }
    expect(await examine(target)).toMatch(
      /warning {2}evidence: no more than believed: nothing was known[^]*ok {7}proved: 75.0 % of it has been proved since/,
    );
    await writeRandom(origin, 5 * MIB, 8192, 'last round');
    expect(await reportOf(...words)).toMatchObject({ verified: { bytes: 8 * MIB, share: 1, since: start } });
    await expectSameBytes(target, origin);
    const told = await examine(target);
    expect(told).toMatch(
      /ok {7}state: exactly stopped-.*, recorded at .*, brought by changes from vg-audit\/snap of /,
    );
    expect(told).toMatch(/ok {7}evidence: sure[^]*ok {7}proved: all of it has been proved since/);
  });

  it('find what was written to the disk below, repair it, and say that the rest is in doubt', async () => {
    const { status, stdout, stderr } = await strayFoundByAudit(target, 3 * MIB, [`${GROUP}/snap`, target]);
    expect({ status, stderr }).toEqual({
      status: 11,
      stderr: expect.stringMatching(
        /someone wrote to it: 1 of the audited pieces outside the changes/,
      ) as string,
    });
    await expectSameBytes(target, origin);
    expect(JSON.parse(stdout)).toMatchObject({ verified: { bytes: 0, share: 0, since: null } });
    expect(await examine(target)).toMatch(/warning {2}evidence: no more than believed: someone wrote to it/);
    const report = await reportOf(`${GROUP}/snap`, target, '--audit', '100');
    expect(report).toMatchObject({ verified: { share: 1 } });
    expect(await examine(target)).toMatch(/evidence: sure/);
  });

  it('start again after a write that the kernel counted', async () => {
    await runLvmsync(`${GROUP}/snap`, target, '--audit', '34');
    // in a block that changed, which is sent anyway
    await writeRandom(target, 5 * MIB, 512, 'someone else');
    expect(await examine(target)).toMatch(/warning {2}state: not known: someone wrote to it/);
  });
});

it('continue through a chain of thin snapshots, each the base of the next', async () => {
  const lab = await ThinLab.make(GROUP, '64k');
  const copy = await createVolume(GROUP, 'copy', '32M');
  await writeRandom(lab.volume, 0, 20 * MIB, 'base');
  const freeze = (name: string) => lv('lvcreate', '-s', '-K', '-ay', '-n', name, `${GROUP}/vol`);
  await freeze('s0');
  await copyDevice(`/dev/${GROUP}/s0`, copy);
  for (let round = 1; round <= 3; round++) {
    await writeRandom(lab.volume, round * 6 * MIB, 70_144, `round ${round}`);
    await run(['blkdiscard', '-o', String(round * MIB), '-l', String(MIB / 4), lab.volume]);
    await freeze(`s${round}`);
    const words = [`${GROUP}/s${round - 1}`, copy, '--data-source', `${GROUP}/s${round}`, '--audit', '34'];
    const report = await reportOf(...words);
    expect(report).toMatchObject({ mismatches: 0, verified: { bytes: Math.min(round * 11, 32) * MIB } });
    await expectSameBytes(copy, `/dev/${GROUP}/s${round}`);
    expect(await examine(copy)).toMatch(round < 3 ? /no more than believed/ : /evidence: sure/);
  }
});
