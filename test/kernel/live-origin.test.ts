import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  copyDevice,
  mapDevice,
  readDirectly,
  scatterWrites,
  sectorsOf,
  unmapDevices,
  waitForWrites,
} from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  lvmsyncCommand,
  mapperName,
  run,
  statusOf,
  writeRandom,
} from './support/lab.js';
import { expectFailure, expectPlainLines, reportOf, runLvmsync } from './support/outcomes.js';
import { expectSameBytes } from './support/same-bytes.js';
import { useVolumeGroup } from './support/volume-group.js';
import { startWriter } from './support/writer.js';

const GROUP = 'vg-live';
const SIZE = 16 * 1024 * 1024;

let target = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  target = await createVolume(GROUP, 'target', '16M');
});

describe('an origin that is written all the time', () => {
  const origin = `/dev/${GROUP}/busy`;
  const first = `${GROUP}/first`;

  beforeAll(async () => {
    await createVolume(GROUP, 'busy', '16M');
    await writeRandom(origin, 0, SIZE, 'base');
    // too large to overflow
    await createSnapshot(GROUP, 'busy', 'first', { size: '20M' });
    await copyDevice(`/dev/${first}`, target);
  });

  it('is sent as it was at the moment of a second snapshot', async () => {
    const writer = await startWriter(origin, SIZE);
    try {
      await sleep(300);
      const second = await createSnapshot(GROUP, 'busy', 'second', { size: '20M' });
      await sleep(300);
      const report = await reportOf(first, target, '--data-source', `${GROUP}/second`);
      expect(report['consistent']).toBe(true);
      expect(report['changedBytes']).toBeGreaterThan(100 * 4096);
      await expectSameBytes(target, second);
      // and the writer did write meanwhile
      expect((await statusOf(mapperName(GROUP, 'second'), 4096)).exceptions).toBeGreaterThan(10);
    } finally {
      await writer.stop();
    }
    expect(await digestOf(target)).not.toBe(await digestOf(origin));
    await run(['lvremove', '-qq', '-f', `${GROUP}/second`]);
  });

  it('is not a point-in-time copy by itself, and the summary says so; once it is at rest it is', async () => {
    const writer = await startWriter(origin, SIZE);
    try {
      const { status, stderr } = await lvmsync([first, target]);
      expect({ status, stderr }).toEqual({
        status: 0,
        stderr: expect.stringMatching(
          /warning: .*not a consistent point-in-time copy; use a second, read-only snapshot/,
        ) as string,
      });
    } finally {
      await writer.stop();
    }
    expect(await reportOf(first, target)).toMatchObject({ consistent: true });
    await expectSameBytes(target, origin);
  });

  it('accepts only a snapshot of the same volume as data source', async () => {
    await expectFailure([first, target, '-r', `/dev/${first}`], 2, /this is the snapshot itself/);
    await createVolume(GROUP, 'other', '16M');
    await createSnapshot(GROUP, 'other', 'of-other', { size: '4M' });
    await expectFailure([first, target, '-r', `${GROUP}/of-other`], 2, /a snapshot of .*other, but/);
  });
});

describe('an origin that is mounted', () => {
  it('is not called consistent, although no one writes', async () => {
    const origin = await createVolume(GROUP, 'mounted', '16M');
    await run(['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', origin]);
    await createSnapshot(GROUP, 'mounted', 'of-mounted', { size: '20M' });
    await copyDevice(`/dev/${GROUP}/of-mounted`, target);
    mkdirSync('/run/live', { recursive: true });
    await run(['mount', '-o', 'noatime', origin, '/run/live']);
    try {
      await run(['bash', '-c', 'head -c 3000000 /dev/urandom >/run/live/file; sync']);
      expect(await reportOf(`${GROUP}/of-mounted`, target)).toMatchObject({ consistent: false });
      await expectSameBytes(target, origin);
    } finally {
      await run(['umount', '/run/live']);
    }
  });
});

describe('a store that overflows while its changes are sent', () => {
  const origin = `/dev/${GROUP}/crowded`;
  const snapshot = `${GROUP}/tight`;

  beforeAll(() => createVolume(GROUP, 'crowded', '16M'));
  afterEach(() => run(['lvremove', '-qq', '-f', snapshot]));

  async function changeNearlyAll(): Promise<void> {
    await createSnapshot(GROUP, 'crowded', 'tight', { size: '7M' });
    await copyDevice(`/dev/${snapshot}`, target);
    // more than a receiver takes in before it writes
    await scatterWrites(origin, { unit: 65_536, stride: 2, count: 100, seed: 'first' });
  }

  async function overflow(): Promise<void> {
    // in one quick write, as the run does not wait: of about 1,780 chunks, 1,600 are taken
    await writeRandom(origin, 0, 4 << 20, 'second');
    expect(await statusOf(mapperName(GROUP, 'tight'), 4096)).toMatchObject({ words: 'Invalid' });
  }

  it('ends the run with its own error, not with a target that lacks changes', async () => {
    await changeNearlyAll();
    const sectors = await sectorsOf(target);
    // a name of its own: what another test's cut run left of a device is known by its name
    const slow = await mapDevice('slow-crowded', `0 ${sectors} delay ${target} 0 0 ${target} 0 300`);
    try {
      // without a journal it is written before all has come
      const sending = lvmsync([snapshot, slow, '--no-journal']);
      await waitForWrites(slow);
      await overflow();
      const { status, stderr } = await sending;
      expect({ status, stderr }).toEqual({
        status: 4,
        stderr: expect.stringMatching(/tight: the snapshot is invalid: its store filled up/) as string,
      });
      expectPlainLines(stderr);
      expect(stderr).toMatch(/slow-crowded: half-written/);
    } finally {
      await unmapDevices('slow-crowded');
    }
  });

  it('leaves a stream without its end, which no receiver accepts as whole', async () => {
    await changeNearlyAll();
    const [command, ...words] = lvmsyncCommand(snapshot, '--stdout');
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    const exited = once(child, 'exit');
    let stderr = '';
    child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
    // nobody reads on: the sender waits with most of its 6.4 MB
    await once(child.stdout, 'readable');
    await overflow();
    writeFileSync('/run/stream', await buffer(child.stdout));
    expect(await exited).toEqual([4, null]);
    expect(stderr).toMatch(/its store filled up/);
    await expectFailure(['--apply', '/run/stream', target], 5, /cut short/);
  });
});

describe('an origin that grew since the snapshot', () => {
  it('is sent with all of its new end, or not at all', async () => {
    const origin = await createVolume(GROUP, 'growing', '8M');
    await writeRandom(origin, 0, 8 << 20, 'base');
    await createSnapshot(GROUP, 'growing', 'of-growing', { size: '8M' });
    const small = await createVolume(GROUP, 'small', '8M');
    await copyDevice(`/dev/${GROUP}/of-growing`, small);
    await copyDevice(`/dev/${GROUP}/of-growing`, target);
    // LVM grows an origin only while it is inactive
    await run(['lvchange', '-qq', '-an', `${GROUP}/growing`]);
    await run(['lvextend', '-qq', '-L', '12M', `${GROUP}/growing`]);
    await run(['lvchange', '-qq', '-ay', `${GROUP}/growing`]);
    await writeRandom(origin, 4096, 4096, 'old part');
    await writeRandom(origin, 9 << 20, 4096, 'new part');

    const before = await digestOf(small);
    await expectFailure(
      [`${GROUP}/of-growing`, small],
      3,
      /small: too small: it has 8 MiB, and the volume has 12 MiB/,
    );
    expect(await digestOf(small)).toBe(before);

    const report = await reportOf(`${GROUP}/of-growing`, target);
    expect(report).toMatchObject({ tableBytes: 4096, changedBytes: 4096 + (4 << 20) });
    const [there, here] = [await readDirectly(target, 0, 12 << 20), await readDirectly(origin, 0, 12 << 20)];
    expect(there).toBeBytes(here);
    await runLvmsync('inspect', `${GROUP}/of-growing`);
  });
});
