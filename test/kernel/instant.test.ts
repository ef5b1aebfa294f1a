import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { StateRecord } from '../../src/targets/state-record.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { readViews } from '../../src/view/view-record.js';
import { runWords } from '../support/run-program.js';
import { mapDevice, remapDevice, sectorsOf, unmapDevices, waitUntil } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  digestOf,
  lvmsync,
  removeVolumeGroup,
  run,
  seededBytes,
  writeBytes,
} from './support/lab.js';
import { lv } from './support/thin-lab.js';
import { writeUndo } from './support/undo-archive.js';

const GROUP = 'vg-instant';
const FOLDER = '/run/instant';
const STATE = `${FOLDER}/state`;
const ARCHIVES = `${FOLDER}/archives`;
const SIZE = 8 << 20;
/** Far apart, so that the kernel merges each by itself: whatever is slow then takes long. */
const RUNS = 24;

let target = '';
/** Where the disk's writes can be made slow; not at its beginning, where LVM would find its label twice. */
let fast = '';
let slow = '';
const old = seededBytes('old', SIZE);
const present = Buffer.from(old);
for (let i = 0; i < RUNS; i++) seededBytes(`new ${i}`, 65_536).copy(present, i * 5 * 65_536);
let oldDigest = '';

beforeAll(async () => {
  mkdirSync(ARCHIVES, { recursive: true });
  const sectors = (await sectorsOf('/dev/ubda')) - 2048;
  fast = `0 ${sectors} linear /dev/ubda 2048`;
  slow = `0 ${sectors} delay /dev/ubda 2048 0 /dev/ubda 2048 300`;
  await createVolumeGroup(GROUP, await mapDevice('disk', fast));
  target = await createVolume(GROUP, 'target', '8M');
  await writeUndo(`${ARCHIVES}/undo`, old, present, { base: 'new', result: 'old' });
  await writeBytes(target, 0, old);
  oldDigest = await digestOf(target);
});
afterAll(async () => {
  await removeVolumeGroup(GROUP);
  await unmapDevices('disk');
  rmSync(FOLDER, { recursive: true });
});
beforeEach(async () => {
  await writeBytes(target, 0, present);
  await record().then((each) => each.write({ is: 'exactly', identity: 'new', from: null }));
});
afterEach(async () => {
  rmSync('/run/bin/lvconvert', { force: true });
  await remapDevice('disk', fast);
});

async function record(): Promise<StateRecord> {
  const { key, realPath, number } = await targetKeyOf(target);
  const folder = path.join(STATE, 'targets', key);
  mkdirSync(folder, { recursive: true });
  return new StateRecord(folder, { path: realPath, number });
}

const WORDS = ['--to', 'old', '--from', ARCHIVES, '--state-dir', STATE, '--instant'] as const;

async function rollBack(device = target): Promise<{ status: number; said: string }> {
  const { status, said } = await runWords(['restore', device, ...WORDS]);
  return { status, said: said.join('\n') };
}

/** Does something at the moment at which the merge is asked for; `"$REAL"` is the program itself. */
function atMerge(script: string): void {
  atConvert('*--merge*', script);
}

function atConvert(words: string, script: string): void {
  const file = '/run/bin/lvconvert';
  const real = `[ -x /usr/sbin/lvconvert ] && REAL=/usr/sbin/lvconvert || REAL=/sbin/lvconvert`;
  const body = `case "$*" in ${words}) ${script};; esac\nexec "$REAL" "$@"`;
  writeFileSync(file, `#!/bin/bash\n${real}\n${body}\n`);
  chmodSync(file, 0o755);
}

async function isMerging(): Promise<boolean> {
  return (await run(['dmsetup', 'table', 'vg--instant-target'])).includes('snapshot-merge');
}

async function waitForMerge(): Promise<void> {
  await waitUntil('the merge is done', async () => !(await isMerging()));
  // LVM's own poll tidies up when it sees the end
  await waitUntil('LVM has tidied up', async () => (await volumes()).join() === 'target');
}

async function volumes(): Promise<string[]> {
  const names = await run(['lvs', '-a', '--noheadings', '-o', 'lv_name', GROUP]);
  return names.trim().split(/\s+/);
}

it('an instant rollback shows the old state before the merge ends, and after', async () => {
  atMerge(
    `dmsetup suspend --nolockfs --noflush disk; dmsetup load disk --table '${slow}'; dmsetup resume disk`,
  );
  const { status, said } = await rollBack();
  expect(status, said).toBe(0);
  expect(said).not.toMatch(/believed/);
  expect(await digestOf(target)).toBe(oldDigest);
  // while that was read, too
  expect(await isMerging()).toBe(true);
  expect((await (await record()).read()).holds).toMatchObject({ is: 'exactly', identity: 'old' });
  const second = await runWords(['view', 'open', 'past', target, `${ARCHIVES}/undo`, '--state-dir', STATE]);
  expect([second.status, second.said.join()]).toEqual([
    3,
    expect.stringMatching(/is being merged into it: wait/),
  ]);
  await remapDevice('disk', fast);
  await waitForMerge();
  expect(await digestOf(target)).toBe(oldDigest);
  expect((await (await record()).read()).holds).toMatchObject({ is: 'exactly', identity: 'old' });
  expect(await readViews(STATE)).toEqual([]);
});

it('a dry run of an instant rollback reads all the archives, and does nothing', async () => {
  const archive = `${ARCHIVES}/undo`;
  const bytes = readFileSync(archive);
  const plan = () => runWords(['restore', target, ...WORDS, '--dry-run']);
  expect((await plan()).status).toBe(0);
  const damaged = Buffer.from(bytes);
  damaged[100_000] = (damaged[100_000] ?? 0) ^ 1;
  writeFileSync(archive, damaged);
  const { status, said } = await plan();
  writeFileSync(archive, bytes);
  expect([status, said.at(-1)]).toEqual([6, expect.stringMatching(/undo.*checksum/)]);
  expect(await volumes()).toEqual(['target']);
});

it('an instant rollback waits for a program that opens the volume for a moment', async () => {
  atMerge(
    `( exec 7<${target}; sleep 1 ) >/dev/null 2>&1 &\nuntil dmsetup info -c --noheadings -o open vg--instant-target | grep -q 1; do :; done`,
  );
  const { status, said } = await rollBack();
  expect(status, said).toBe(0);
  await waitForMerge();
  expect(await digestOf(target)).toBe(oldDigest);
});

it('an instant rollback that LVM refuses removes its snapshot, and the record is what it was', async () => {
  atMerge('echo "no such luck" >&2; exit 5');
  expect(await rollBack()).toEqual({ status: 12, said: expect.stringMatching(/no such luck/) as string });
  await expectNothingDone();
});

it('an instant rollback that a signal stops before the merge begins removes its snapshot', async () => {
  atConvert('*--type*', 'kill -TERM $PPID');
  const stopped = await lvmsync(['restore', target, ...WORDS]);
  expect(stopped).toMatchObject({
    status: 143,
    stderr: expect.stringMatching(/stopped by SIGTERM/) as string,
  });
  await expectNothingDone();
});

async function expectNothingDone(): Promise<void> {
  expect(await volumes()).toEqual(['target']);
  expect(await readViews(STATE)).toEqual([]);
  expect((await (await record()).read()).holds).toEqual({ is: 'exactly', identity: 'new', from: null });
  rmSync('/run/bin/lvconvert');
  const again = await rollBack();
  expect(again.status, again.said).toBe(0);
  await waitForMerge();
  expect(await digestOf(target)).toBe(oldDigest);
}

it('an instant rollback that LVM delays for too long is recorded as in progress, not as a view', async () => {
  // someone who opens it for good
  atMerge(`( exec 7<${target}; sleep 30 ) >/dev/null 2>&1 &\necho $! > ${FOLDER}/holder\nsleep 1`);
  const { status, said } = await rollBack();
  expect([status, said]).toEqual([3, expect.stringMatching(/accepted its merge[^]*LVM postponed it/)]);
  expect(await readViews(STATE)).toEqual([]);
  expect((await (await record()).read()).holds?.is).toBe('applying from');
  process.kill(Number(readFileSync(`${FOLDER}/holder`, 'utf8')));
  await waitUntil('the merge begins', async () => {
    await run(['lvchange', '-qq', '--refresh', '--poll', 'y', `${GROUP}/target`]);
    return !(await run(['dmsetup', 'table', 'vg--instant-target'])).includes('snapshot-origin');
  });
  await waitForMerge();
  expect(await digestOf(target)).toBe(oldDigest);
});

it('an instant rollback that is killed before the merge begins has changed nothing, and view close tidies up', async () => {
  atMerge('kill -KILL $PPID; exit 1');
  const killed = await lvmsync(['restore', target, ...WORDS]);
  expect(killed.status, killed.stderr).toBeNull();
  rmSync('/run/bin/lvconvert');
  await writeBytes(target, 0, present.subarray(0, 4096));
  const [left] = await readViews(STATE);
  expect(left?.purpose).toBe('rollback');
  const again = await rollBack();
  expect([again.status, again.said]).toEqual([
    3,
    expect.stringMatching(/it has snapshots \(vg-instant\/lvmsync-rollback-/),
  ]);
  const closed = await runWords(['view', 'close', left?.name ?? '', '--state-dir', STATE]);
  expect(closed.status, closed.said.join()).toBe(0);
  expect(await volumes()).toEqual(['target']);
  expect(await digestOf(target)).not.toBe(oldDigest);
});

it('an instant rollback that a merge cannot do is refused, with the reason', async () => {
  await createSnapshot(GROUP, 'target', 'snap', { size: '4M' });
  const withSnapshot = await rollBack();
  await run(['lvremove', '-qq', '-f', `${GROUP}/snap`]);
  expect(withSnapshot).toEqual({
    status: 3,
    said: expect.stringMatching(/snapshots .*snap.*remove them/) as string,
  });

  await lv('lvcreate', '--type', 'thin-pool', '-L', '16M', '-n', 'pool', GROUP);
  await lv('lvcreate', '--type', 'thin', '-V', '8M', '--thinpool', 'pool', '-n', 'thin', GROUP);
  await writeBytes(`/dev/${GROUP}/thin`, 0, present);
  const thin = await rollBack(`/dev/${GROUP}/thin`);
  await lv('lvremove', '-f', `${GROUP}/pool`);
  expect(thin).toEqual({
    status: 3,
    said: expect.stringMatching(/no instant rollback: it is a thin volume/) as string,
  });

  writeFileSync(`${FOLDER}/image`, present);
  expect(await rollBack(`${FOLDER}/image`)).toEqual({
    status: 3,
    said: expect.stringMatching(/no instant rollback: it is not a logical volume/) as string,
  });
  expect(await volumes()).toEqual(['target']);
  expect(await digestOf(target)).not.toBe(oldDigest);
});
