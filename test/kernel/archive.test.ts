import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendToLocalTarget } from '../../src/jobs/send-locally.js';
import { makeSnapback } from '../../src/jobs/snapback.js';
import { openSource } from '../../src/sources/open-source.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { runWords } from '../support/run-program.js';
import { quietSurroundings } from '../support/surroundings.js';
import { copyDevice, scatterWrites } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  run,
  writeRandom,
} from './support/lab.js';
import { expectFailure, reportOf, runLvmsync } from './support/outcomes.js';
import { reach, start } from './support/random-moments.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-archive';
const MIB = 1024 * 1024;
const STATE = '/run/archive-state';
/** Undos that the receiver made as it applied, and those that the sender made by itself. */
const RECEIVED = '/run/archive-received';
const SENT = '/run/archive-sent';
/** When each generation was brought to the target. */
const TIMES = [
  '2026-01-10T12:00:00Z',
  '2026-02-10T12:00:00Z',
  '2026-02-20T12:00:00Z',
  '2026-03-05T12:00:00Z',
];
const LAST = TIMES.length;

let origin = '';
let target = '';
/** Of each state of the volume: what it holds, and its identity. */
const digests: string[] = [];
const states: string[] = [];
/** When LVM made its snapshot. */
const births: string[] = [];

const snapshotOf = (generation: number) => `${GROUP}/s${generation}`;

async function freeze(generation: number): Promise<void> {
  await createSnapshot(GROUP, 'origin', `s${generation}`, { size: '20M', permission: 'r' });
  digests.push(await digestOf(`/dev/${snapshotOf(generation)}`));
  births.push(await birthOf(snapshotOf(generation)));
  states.push(
    (await run(['dmsetup', 'info', '-c', '--noheadings', '-o', 'uuid', `vg--archive-s${generation}`])).trim(),
  );
}

async function birthOf(snapshot: string): Promise<string> {
  const words = ['--noheadings', '-o', 'lv_time', '--config', 'report/time_format="%s"', snapshot];
  return new Date(Number(await run(['lvs', ...words])) * 1000).toISOString();
}

async function change(generation: number): Promise<void> {
  await scatterWrites(origin, { unit: 4096, stride: 37, count: 60, seed: `generation ${generation}` });
  await writeRandom(origin, generation * 2 * MIB + 512, 300 * 1024, `more of ${generation}`);
  // more than one batch of the journal
  if (generation === 3) await writeRandom(origin, 6 * MIB, 9 * MIB, 'much');
  await run(['blkdiscard', '-z', '-o', String((2 + generation) * MIB), '-l', '65536', origin]);
}

useVolumeGroup(GROUP);
beforeAll(async () => {
  for (const folder of [RECEIVED, SENT]) mkdirSync(folder, { recursive: true });
  origin = await createVolume(GROUP, 'origin', '16M');
  target = await createVolume(GROUP, 'target', '16M');
  await writeRandom(origin, 0, 14 * MIB, 'base');
  await freeze(0);
  await copyDevice(`/dev/${snapshotOf(0)}`, target);
  // from here on the target's state is known for sure
  await runLvmsync('--scan', `/dev/${snapshotOf(0)}`, target, '--state-dir', STATE);
  for (const [index, time] of TIMES.entries()) {
    const generation = index + 1;
    await change(generation);
    await freeze(generation);
    const [before, after] = [snapshotOf(index), snapshotOf(generation)];
    const env = { ...quietSurroundings(), now: () => new Date(time) };
    const source = { kind: 'snapshot', name: before, dataSource: after } as const;
    const policy = { ...DEFAULT_POLICY, stateDir: STATE, snapback: join(RECEIVED, `${generation}.undo`) };
    // in this process: in the guest it takes seconds to start another
    const opened = await openSource(env, source);
    await sendToLocalTarget(opened, { path: target, policy }, { proofs: true }, env);
    await opened.watch.close();
    const options = { codec: null, forceWritable: false };
    await makeSnapback(source, join(SENT, `${generation}.undo`), options, env);
    await run(['lvremove', '-qq', '-y', before]);
  }
  expect(await digestOf(target)).toBe(digests[LAST]);
}, 300_000);
afterAll(() => {
  for (const folder of [RECEIVED, SENT, STATE]) rmSync(folder, { recursive: true, force: true });
});

async function restore(to: string | undefined, from: string, ...more: readonly string[]) {
  return await reportOf('restore', target, '--to', to ?? '', '--from', from, '--state-dir', STATE, ...more);
}

describe('a folder of snapbacks', () => {
  it('is listed, with the states that they lead from and to, and found whole', async () => {
    const { archives } = (await reportOf('archive', 'list', RECEIVED)) as { archives: readonly object[] };
    expect(archives).toMatchObject(
      TIMES.map((time, index) => ({
        time: new Date(time).toISOString(),
        base: states[index + 1],
        result: states[index],
        problem: null,
      })).reverse(),
    );
    await runLvmsync('archive', 'check', RECEIVED);
    await runLvmsync('archive', 'check', SENT);
  });

  it('takes the target back to the first state in one pass, and forward again by its own snapback', async () => {
    const redo = '/run/archive-redo';
    const report = await restore(states[0], RECEIVED, '-b', redo);
    expect(report['archives']).toHaveLength(LAST);
    expect(await digestOf(target)).toBe(digests[0]);
    await runLvmsync('--apply', redo, '--state-dir', STATE, target);
    expect(await digestOf(target)).toBe(digests[LAST]);
    rmSync(redo);
  });

  it('takes it back to what it was at a time, as the plan said', async () => {
    const plan = await restore('2026-02-15', RECEIVED, '--dry-run');
    expect(await digestOf(target)).toBe(digests[LAST]);
    expect(plan).toMatchObject({ from: states[4], to: states[2] });
    expect(await restore('2026-02-15', RECEIVED)).toMatchObject({
      to: plan['to'],
      changedBytes: plan['changedBytes'],
    });
    expect(await digestOf(target)).toBe(digests[2]);
    // from there, further back
    await restore(states[1], RECEIVED);
    expect(await digestOf(target)).toBe(digests[1]);
  });
});

describe('snapbacks that the sender made', () => {
  it('have the time at which the state that they lead back from began', async () => {
    const { archives } = (await reportOf('archive', 'list', SENT)) as {
      archives: readonly { base: string; time: string }[];
    };
    expect(new Map(archives.map(({ base, time }) => [base, time]))).toEqual(
      new Map(TIMES.map((_, index) => [states[index + 1], births[index + 1]])),
    );
  });

  it('take a target back to each earlier state, after its own state is found by its contents', async () => {
    for (const generation of [3, 0]) {
      await copyDevice(`/dev/${snapshotOf(LAST)}`, target);
      expect(await restore(states[generation], SENT)).toMatchObject({ from: states[LAST] });
      expect(await digestOf(target)).toBe(digests[generation]);
    }
  });

  it('are refused for a writable snapshot', async () => {
    await createSnapshot(GROUP, 'origin', 'writable', { size: '8M' });
    const words = ['snapback', `${GROUP}/writable`, '-o', join(SENT, 'no')];
    await expectFailure(words, 4, /writable: it is writable, so its old bytes may differ from those/);
    expect(readdirSync(SENT)).not.toContain('no');
    await runLvmsync(...words, '--force', 'writable');
    rmSync(join(SENT, 'no'));
    await run(['lvremove', '-qq', '-y', `${GROUP}/writable`]);
  });

  it('are refused by a target that is not in one of their states, before anything is written', async () => {
    await copyDevice(`/dev/${snapshotOf(LAST)}`, target);
    await writeRandom(target, 4096 * 37, 4096, 'behind its back');
    const before = await digestOf(target);
    const words = ['restore', target, '--to', states[0] ?? '', '--from', SENT, '--state-dir', STATE];
    await expectFailure(words, 7, /it cannot be proved to be in a state that an archive in .* starts from/);
    expect(await digestOf(target)).toBe(before);
  });
});

/** The last state again, and known for sure: what was combined or pruned cannot prove all that it starts from. */
async function bringLast(): Promise<void> {
  await runLvmsync('--scan', `/dev/${snapshotOf(LAST)}`, target, '--state-dir', STATE);
}

describe('snapbacks of a chain of transfers, whichever side made them', () => {
  /** In the order of their effect, back to a generation. */
  const chainTo = (folder: string, generation: number) =>
    Array.from({ length: LAST - generation }, (_, index) => join(folder, `${LAST - index}.undo`));

  async function runWell(...words: readonly string[]): Promise<void> {
    const { status, said } = await runWords(words);
    expect(status, said.join('\n')).toBe(0);
  }

  it.each([RECEIVED, SENT])('in %s, combined, lead to each earlier state', async (folder) => {
    const combined = '/run/archive-combined';
    for (let generation = 0; generation < LAST; generation++) {
      await bringLast();
      await runWell('combine', '-o', combined, ...chainTo(folder, generation));
      await runWell('--apply', combined, '--state-dir', STATE, target);
      expect(await digestOf(target), `generation ${generation}`).toBe(digests[generation]);
      rmSync(combined);
    }
  });

  it.each([RECEIVED, SENT])('in %s, show each earlier state in a view', async (folder) => {
    await copyDevice(`/dev/${snapshotOf(LAST)}`, target);
    for (let generation = 0; generation < LAST; generation++) {
      await runWell('view', 'open', 'past', target, ...chainTo(folder, generation), '--state-dir', STATE);
      expect(await digestOf(`/dev/${GROUP}/past`), `generation ${generation}`).toBe(digests[generation]);
      await runWell('view', 'close', 'past', '--state-dir', STATE);
    }
    expect(await digestOf(target)).toBe(digests[LAST]);
  });
});

describe('a restore that is killed in the middle', () => {
  it('is taken back by recover, and then done by the same command', async () => {
    await copyDevice(`/dev/${snapshotOf(LAST)}`, target);
    const note = join(STATE, 'targets', (await targetKeyOf(target)).key, 'apply.json');
    const words = ['restore', target, '--to', states[0] ?? '', '--from', RECEIVED, '--state-dir', STATE];
    for (let tries = 1; ; tries++) {
      const running = start(lvmsyncCommand(...words));
      await reach({ file: note, writes: 1, milliseconds: 0 }, target, running);
      if (!running.isOver()) process.kill(running.pid, 'SIGKILL');
      await running.finished;
      const { stderr } = await lvmsync(['recover', target, '--state-dir', STATE]);
      const holds = await digestOf(target);
      expect([digests[0], digests[LAST]]).toContain(holds);
      if (stderr.includes('taken back to what it held before')) {
        expect(holds).toBe(digests[LAST]);
        break;
      }
      // it was done before the signal came
      expect(tries).toBeLessThan(10);
      await copyDevice(`/dev/${snapshotOf(LAST)}`, target);
    }
    await runLvmsync(...words);
    expect(await digestOf(target)).toBe(digests[0]);
  });
});

describe('a folder that is pruned', () => {
  const undoFiles = () =>
    readdirSync(RECEIVED)
      .filter((name) => name.endsWith('.undo'))
      .sort();

  it('still leads to every kept state, and names no other', async () => {
    const dry = await reportOf('archive', 'prune', '--keep-monthly', '2', '--dry-run', RECEIVED);
    expect(undoFiles()).toHaveLength(LAST);
    const report = await reportOf('archive', 'prune', '--keep-monthly', '2', RECEIVED);
    expect(report).toMatchObject({ ...dry, madeBytes: report['madeBytes'] });
    expect(report).toMatchObject({
      kept: [states[3], states[1]],
      dropped: [states[2], states[0]],
      unpruned: [],
    });
    expect(undoFiles()).toEqual([expect.stringMatching(/-combined-/), '4.undo']);
    await runLvmsync('archive', 'check', RECEIVED);
    for (const generation of [3, 1]) {
      await bringLast();
      await restore(states[generation], RECEIVED);
      expect(await digestOf(target)).toBe(digests[generation]);
    }
  });
});
