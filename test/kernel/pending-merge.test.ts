import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsyncCommand,
  run,
  tryToRun,
  type RunOptions,
} from './support/lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-pending';
const CONF = '/etc/lvm/lvm.conf';
const FAKES = '/run/pending-fakes';
const STATE = '/run/pending-state';
/** A stream of the Ruby tool: one record of 512 bytes, at the front. */
const STREAM = Buffer.concat([
  Buffer.from('lvmsync PROTO[3]\n'),
  Buffer.alloc(10),
  Buffer.from([2, 0]),
  Buffer.alloc(512, 'x'),
]);
const AS_KEEPER = ['setpriv', '--reuid', '65534', '--regid', '65534', '--groups', 'disk'] as const;

const usual = readFileSync(CONF, 'utf8');
const undo: (readonly [string, ...string[]])[] = [];

useVolumeGroup(GROUP);
beforeEach(() => {
  mkdirSync(FAKES);
  mkdirSync(STATE);
  chownSync(STATE, 65_534, 65_534);
});
afterEach(async () => {
  writeFileSync(CONF, usual);
  for (const words of undo.splice(0).reverse()) await run(words);
  for (const folder of [FAKES, STATE]) rmSync(folder, { recursive: true, force: true });
});

/** Has LVM put off a merge into a volume, as somebody has that open. */
async function putOffMerge(volume: string, snapshot: string): Promise<void> {
  const held = await open(volume, 'r');
  await run(['lvconvert', '-qq', '-y', '--merge', `${GROUP}/${snapshot}`]);
  await held.close();
}

/** A volume that a merge waits for; it ends with the test. */
async function createWaiting(): Promise<string> {
  const path = await createPlain();
  await createSnapshot(GROUP, 'kept', 'goes', { size: '8M' });
  await putOffMerge(path, 'goes');
  return path;
}

async function createPlain(): Promise<string> {
  undo.push(['lvremove', '-qq', '-y', `${GROUP}/kept`]);
  return await createVolume(GROUP, 'kept', '4M');
}

async function createThin(): Promise<string> {
  undo.push(['lvremove', '-qq', '-y', `${GROUP}/pool`]);
  await run(['lvcreate', '-qq', '-y', '-L', '16M', '--type', 'thin-pool', '-Zn', '-n', 'pool', GROUP]);
  await run(['lvcreate', '-qq', '-y', '-V', '4M', '-n', 'thin', '--thinpool', `${GROUP}/pool`]);
  return `/dev/${GROUP}/thin`;
}

async function apply(
  target: string,
  as: readonly string[] = [],
  environment: RunOptions['environment'] = {},
) {
  const words = ['env', ...as, ...lvmsyncCommand('--apply', '-', '--state-dir', STATE, target)] as const;
  const { status, stderr } = await tryToRun(words, { input: STREAM, environment });
  return [status, stderr];
}

/** Sends to a target, which must be refused and stay as it is. */
async function expectRefused(status: number, message: RegExp, ...sending: Parameters<typeof apply>) {
  const before = await digestOf(sending[0]);
  expect(await apply(...sending)).toEqual([status, expect.stringMatching(message)]);
  expect(await digestOf(sending[0])).toBe(before);
}

describe('a target that a merge waits for is not written', () => {
  it('if LVM hides the volume', async () => {
    const target = await createWaiting();
    writeFileSync(CONF, `${usual}\ndevices { filter=[ "r|.*|" ] }\n`);
    await expectRefused(12, /LVM made this device, but does not list it now: check LVM's filters/, target);
  });

  it.each([
    ['fails without a word', 'exit 5', /lvs .*: LVM did not answer/],
    ['is killed', 'kill -KILL $$', /lvs .*: LVM did not answer/],
    [
      'answers what is no report',
      'echo "  kept"',
      /lvs .*: its report is not in the format that LVM documents/,
    ],
    [
      'leaves a column out',
      `echo '{"report":[{"lv":[{"lv_full_name":"x"}]}]}'`,
      /not in the format that LVM documents: no/,
    ],
  ])('if lvs %s', async (_name, script, message) => {
    const target = await createWaiting();
    writeFileSync(`${FAKES}/lvs`, `#!/bin/sh\n${script}\n`);
    chmodSync(`${FAKES}/lvs`, 0o755);
    const environment = { PATH: `${FAKES}:${process.env['PATH'] ?? ''}` };
    await expectRefused(12, message, target, [], environment);
  });

  it('if it is thin', async () => {
    const target = await createThin();
    await run(['lvcreate', '-qq', '-y', '-s', '-n', 'told', `${GROUP}/thin`]);
    await putOffMerge(target, 'told');
    const words =
      /a snapshot will be merged into it, .* \(lvchange --refresh --poll y vg-pending\/thin\), and/;
    await expectRefused(3, words, target);
    await run(['lvchange', '--refresh', '--poll', 'y', `${GROUP}/thin`]);
    expect((await apply(target))[0]).toBe(0);
  });

  it('if a loop device uses it', async () => {
    const target = await createWaiting();
    const loop = (await run(['losetup', '--find', '--show', target])).trim();
    undo.push(['losetup', '-d', loop]);
    await expectRefused(3, /loop\d+: a snapshot will be merged into it/, loop);
  });
});

describe('a user in the group disk, who may not ask LVM,', () => {
  const give = async (target: string) => {
    await run(['chgrp', 'disk', target]);
    await run(['chmod', '660', target]);
  };

  it('writes a plain volume, and is told what was not checked', async () => {
    const target = await createPlain();
    await give(target);
    const [status, stderr] = await apply(target, AS_KEEPER);
    expect([status, stderr]).toEqual([
      0,
      expect.stringMatching(
        /^lvmsync: \/dev\/vg-pending\/kept: without permission to ask LVM and device-mapper, lvmsync did not check for/m,
      ),
    ]);
    expect(String(stderr).match(/without permission to ask/g)).toHaveLength(1);
  });

  it.each([
    ['with a snapshot', createWaiting],
    ['in a thin pool', createThin],
  ])('does not write a volume %s', async (_name, create) => {
    const target = await create();
    await give(target);
    await expectRefused(
      3,
      /it has snapshots or is in a thin pool, .*: run lvmsync as root there \(--sudo\)/,
      target,
      AS_KEEPER,
    );
  });
});
