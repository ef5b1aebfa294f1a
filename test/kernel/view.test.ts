import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { StateRecord } from '../../src/targets/state-record.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { runWords } from '../support/run-program.js';
import { copyDevice } from './support/devices.js';
import { createVolume, digestOf, lvmsync, run, seededBytes, writeBytes, writeRandom } from './support/lab.js';
import { writeUndo } from './support/undo-archive.js';
import { useVolumeGroup } from './support/volume-group.js';
import { startWriter } from './support/writer.js';

const GROUP = 'vg-view';
const FOLDER = '/run/view';
const STATE = `${FOLDER}/state`;
const MOUNTED = `${FOLDER}/mounted`;
const IMAGE = `${FOLDER}/image`;
const MEBIBYTE = 1024 * 1024;
const SIZE = 12 * MEBIBYTE;
const STATES = 10;
/** Two of them that are looked at at the same time. */
const AT_ONCE = [0, 6];

let target = '';
/** What the volume was, by state: 0 is the oldest, the last one what it is now. */
const digests: string[] = [];

useVolumeGroup(GROUP);
beforeAll(async () => {
  mkdirSync(MOUNTED, { recursive: true });
  target = await createVolume(GROUP, 'target', '12M');
  await run(['mkfs.ext4', '-q', '-b', '1024', '-I', '128', '-J', 'size=1', target]);
  let before: Buffer | null = null;
  for (let state = 0; state <= STATES; state++) {
    await run(['mount', target, MOUNTED]);
    writeFileSync(`${MOUNTED}/which`, `state ${state}`);
    // what was written two states ago is gone, and zeroes come and go
    rmSync(`${MOUNTED}/data ${state - 2}`, { force: true });
    writeFileSync(`${MOUNTED}/data ${state}`, dataOf(state));
    await run(['umount', MOUNTED]);
    digests.push(await digestOf(target));
    const now = await readAll(target);
    if (before !== null) {
      await writeUndo(undo(state - 1), before, now, { base: `s${state}`, result: `s${state - 1}` });
    }
    before = now;
  }
  await copyDevice(target, IMAGE);
  await recordState(`s${STATES}`);
});
afterAll(() => {
  rmSync(FOLDER, { recursive: true });
});
afterEach(() => {
  for (const name of TOOLS) rmSync(`/run/bin/${name}`, { force: true });
});

/** Leads from state n + 1 back to state n. */
const undo = (state: number) => `${FOLDER}/undo ${state}`;
/** Leads from the present state back to one. */
const chain = (state: number) =>
  Array.from({ length: STATES - state }, (_, index) => undo(STATES - 1 - index));

function dataOf(state: number): Buffer {
  const bytes = seededBytes(`state ${state}`, 300_000);
  return state % 3 === 0 ? Buffer.alloc(300_000, 0) : bytes;
}

/** Past the page cache, as the volume has just been mounted. */
async function readAll(device: string): Promise<Buffer> {
  await run(['dd', `if=${device}`, `of=${FOLDER}/copy`, 'bs=1M', 'iflag=direct', 'status=none']);
  return readFileSync(`${FOLDER}/copy`);
}

async function recordState(identity: string): Promise<void> {
  await (await recordOf(target)).write({ is: 'exactly', identity, from: null });
}

async function recordOf(device: string): Promise<StateRecord> {
  const { key, realPath, number } = await targetKeyOf(device);
  const folder = path.join(STATE, 'targets', key);
  mkdirSync(folder, { recursive: true });
  return new StateRecord(folder, { path: realPath, number });
}

/** Runs lvmsync view inside this process, and returns what it said. */
async function view(...words: readonly string[]): Promise<{ status: number; said: string; stdout: string }> {
  const { status, said, stdout } = await runWords(['view', ...words, '--state-dir', STATE]);
  return { status, said: said.join('\n'), stdout: stdout.toString() };
}

async function viewWell(...words: readonly string[]): Promise<string> {
  const { status, said, stdout } = await view(...words);
  expect(status, said).toBe(0);
  return words.includes('--json') ? stdout : said;
}

it('a view shows each of ten earlier states of a volume, with its files, takes writes, and closes without a trace', async () => {
  for (let state = 0; state < STATES; state++) {
    // those are looked at below
    if (AT_ONCE.includes(state)) continue;
    await viewWell('open', 'past', target, ...chain(state));
    expect(await digestOf(`/dev/${GROUP}/past`), `state ${state}`).toBe(digests[state]);
    await expectFilesOf(state, `/dev/${GROUP}/past`);
    await viewWell('close', 'past');
  }
  expect(await digestOf(target)).toBe(digests[STATES]);
  expect(await leftOvers()).toEqual([]);
});

it('views show several states of a volume at once, each written to, while the volume is written', async () => {
  for (const state of AT_ONCE) {
    const said = await viewWell('open', `s${state}`, target, ...chain(state));
    expect(said).not.toMatch(/believed/);
    expect(await digestOf(`/dev/${GROUP}/s${state}`)).toBe(digests[state]);
  }
  // known by its record as what it is still
  expect((await (await recordOf(target)).read()).holds?.identity).toBe(`s${STATES}`);
  for (const state of AT_ONCE) await expectFilesOf(state, `/dev/${GROUP}/s${state}`);
  expect(await digestOf(target)).toBe(digests[STATES]);

  await writeRandom(`/dev/${GROUP}/s6`, 5 * MEBIBYTE, MEBIBYTE, 'into a view');
  expect(await digestOf(target)).toBe(digests[STATES]);
  const old = await readAll(`/dev/${GROUP}/s0`);
  const writer = await startWriter(target, SIZE);
  expect(await readAll(`/dev/${GROUP}/s0`)).toBeBytes(old);
  await writer.stop();
  expect(await readAll(`/dev/${GROUP}/s0`)).toBeBytes(old);
  expect(await digestOf(target)).not.toBe(digests[STATES]);

  const { views } = JSON.parse(await viewWell('list', '--json')) as {
    views: { name: string; status: string; usedBytes: number; totalBytes: number }[];
  };
  expect(views.map(({ name, status }) => [name, status])).toEqual([
    ['s0', 'open'],
    ['s6', 'open'],
  ]);
  expect(views.every(({ usedBytes, totalBytes }) => usedBytes > 0 && usedBytes < totalBytes)).toBe(true);
  for (const state of AT_ONCE) await viewWell('close', `s${state}`);
  expect(await leftOvers()).toEqual([]);
  await copyDevice(IMAGE, target);
  expect(await digestOf(target)).toBe(digests[STATES]);
});

it('a view of a plain device makes it read-only, and lets nothing be applied to it meanwhile', async () => {
  const device = (await run(['losetup', '--find', '--show', IMAGE])).trim();
  try {
    await viewWell('open', 'plain', device, ...chain(3), '--dir', FOLDER);
    expect(await run(['blockdev', '--getro', device])).toBe('1\n');
    await expect(writeBytes(device, 0, Buffer.alloc(512))).rejects.toThrow(/EACCES|EPERM/);
    const refused = await runWords(['--apply', undo(9), '--state-dir', STATE, device]);
    expect([refused.status, refused.said.join()]).toEqual([
      3,
      expect.stringMatching(/underneath the view plain, .*: run "lvmsync view close plain" first/),
    ]);
    expect((await view('open', 'again', device, undo(9))).status).toBe(3);
    await expectFilesOf(3, '/dev/mapper/plain');
    await run(['mount', '/dev/mapper/plain', MOUNTED]);
    const busy = await view('close', 'plain');
    await run(['umount', MOUNTED]);
    expect([busy.status, busy.said]).toEqual([3, expect.stringMatching(/mounted on .*: unmount it first/)]);
    await viewWell('close', 'plain');
    expect(await run(['blockdev', '--getro', device])).toBe('0\n');
  } finally {
    await run(['losetup', '-d', device]);
  }
  expect(await leftOvers()).toEqual([]);
});

it('a view of an image file shows its old contents, lets nothing be applied to the file while it is open, and closes without a trace', async () => {
  const before = await digestOf(IMAGE);
  await viewWell('open', 'past', IMAGE, ...chain(0));
  expect(await digestOf('/dev/mapper/past')).toBe(digests[0]);
  await expectFilesOf(0, '/dev/mapper/past');
  const refused = await runWords(['--apply', undo(9), '--state-dir', STATE, IMAGE]);
  expect([refused.status, refused.said.join()]).toEqual([
    3,
    expect.stringMatching(/underneath the view past, .*: run "lvmsync view close past" first/),
  ]);
  expect((await view('open', 'past', IMAGE, undo(9))).said).toMatch(
    /past of \S+ is open: run "lvmsync view close past"/,
  );
  await viewWell('close', 'past');
  expect(await digestOf(IMAGE)).toBe(before);
  expect(await leftOvers()).toEqual([]);
});

it('a view is refused where the volume is not what the archives start from, or in use, or the archives do not fit', async () => {
  await recordState('another');
  const other = await view('open', 'past', target, ...chain(8));
  expect([other.status, other.said]).toEqual([
    7,
    expect.stringMatching(/holds exactly another, but the undo starts from s10/),
  ]);
  await recordState(`s${STATES}`);
  expect((await view('open', 'past', target, undo(8), undo(9))).status).toBe(7);
  await run(['mount', '-o', 'ro', target, MOUNTED]);
  const mounted = await view('open', 'past', target, ...chain(8));
  await run(['umount', MOUNTED]);
  expect([mounted.status, mounted.said]).toEqual([3, expect.stringMatching(/mounted on/)]);
  expect((await view('open', 'target', target, ...chain(8))).said).toMatch(/vg-view\/target already exists/);
  expect(await leftOvers()).toEqual([]);
});

/** Programs that a test puts something before, or instead of. */
const TOOLS = ['lvcreate', 'lvconvert', 'losetup', 'dmsetup', 'blockdev'];

/** Puts a script in place of a program; `"$REAL"` in it is the program itself. */
function replace(tool: string, script: string): void {
  const file = `/run/bin/${tool}`;
  const real = ['/usr/sbin', '/sbin', '/usr/bin'].map((folder) => `${folder}/${tool}`);
  const find = real.map((each) => `[ -x ${each} ] && REAL=${each}`).join('; ');
  writeFileSync(file, `#!/bin/bash\n${find}\n${script}\n`);
  chmodSync(file, 0o755);
}

it('a view removes what was made if a step fails, or if someone wrote meanwhile', async () => {
  replace('lvconvert', 'echo "no such luck" >&2; exit 5');
  expect(await view('open', 'past', target, ...chain(8))).toMatchObject({
    status: 12,
    said: expect.stringMatching(/no such luck/) as string,
  });
  expect(await leftOvers()).toEqual([]);
  replace('lvconvert', `"$REAL" "$@" && dd if=${target} of=${target} bs=4k count=1 oflag=direct status=none`);
  expect(await view('open', 'past', target, ...chain(8))).toMatchObject({
    status: 3,
    said: expect.stringMatching(/written to while it was read.*try again/) as string,
  });
  expect(await leftOvers()).toEqual([]);
  await recordState(`s${STATES}`);
  replace('dmsetup', 'case "$1" in create) echo "not this time" >&2; exit 1;; esac; exec "$REAL" "$@"');
  expect(await view('open', 'past', IMAGE, ...chain(8))).toMatchObject({
    status: 12,
    said: expect.stringMatching(/not this time/) as string,
  });
  expect(await leftOvers()).toEqual([]);
});

it.each([
  ['lvcreate', '-n', 'a volume'],
  ['lvconvert', '--type', 'a volume'],
  ['blockdev', '--setro', 'a device'],
  ['losetup', '.cow', 'a device'],
  ['dmsetup', 'create', 'a device'],
])('a view that is killed right after its %s %s is cleaned up by view close', async (tool, word, of) => {
  const loop = of === 'a device' ? (await run(['losetup', '--find', '--show', IMAGE])).trim() : null;
  const subject = loop ?? target;
  try {
    replace(tool, `"$REAL" "$@"; status=$?; case "$*" in *${word}*) kill -KILL $PPID;; esac; exit $status`);
    const killed = await lvmsync(['view', 'open', 'p', subject, ...chain(8), '--state-dir', STATE]);
    expect(killed.status, killed.stderr).toBeNull();
    rmSync(`/run/bin/${tool}`);
    expect(await leftOvers()).not.toEqual([]);
    const { status, said } = await view('open', 'p', subject, ...chain(8));
    expect([status, said]).toEqual([
      2,
      expect.stringMatching(/was cut short: run "lvmsync view close p" first/),
    ]);
    if (tool === 'blockdev') {
      const apply = await runWords(['-a', undo(9), '--state-dir', STATE, subject]);
      expect([apply.status, apply.said.join()]).toEqual([8, expect.stringMatching(/read-only .*view close/)]);
    }
    expect(await viewWell('list')).toBe('');
    expect(await viewWell('close', 'p')).toMatch(/removed what an interrupted run had left behind/);
    if (loop !== null) expect(await run(['blockdev', '--getro', loop])).toBe('0\n');
  } finally {
    if (loop !== null) await run(['losetup', '-d', loop]);
  }
  expect(await leftOvers()).toEqual([]);
  expect(await digestOf(IMAGE)).toBe(digests[STATES]);
});

/** Mounts a view, compares its files with those of a state, and writes one to it. */
async function expectFilesOf(state: number, device: string): Promise<void> {
  await run(['mount', device, MOUNTED]);
  try {
    expect(readFileSync(`${MOUNTED}/which`, 'utf8')).toBe(`state ${state}`);
    expect(readFileSync(`${MOUNTED}/data ${state}`)).toBeBytes(dataOf(state));
    const kept = [state - 1, state].filter((each) => each >= 0).map((each) => `data ${each}`);
    expect(
      readdirSync(MOUNTED)
        .filter((name) => name.startsWith('data'))
        .sort(),
    ).toEqual(kept.sort());
    writeFileSync(`${MOUNTED}/written`, dataOf(1));
  } finally {
    await run(['umount', MOUNTED]);
  }
}

/** What views leave when they are closed, apart from their targets. */
async function leftOvers(): Promise<string[]> {
  const volumes = await run(['lvs', '--noheadings', '-o', 'lv_name', GROUP]);
  const mapped = await run(['dmsetup', 'ls']);
  const loops = await run(['losetup', '--list', '--noheadings', '--output', 'NAME,BACK-FILE']);
  const files = await run(['find', `${STATE}/views`, '-type', 'f', '-not', '-name', 'lock']);
  return [
    ...volumes
      .trim()
      .split(/\s+/)
      .filter((name) => name !== 'target'),
    ...mapped.split('\n').filter((line) => line !== '' && !/^vg--view-target\s/.test(line)),
    ...[loops, files].map((text) => text.trim()).filter((text) => text !== ''),
  ];
}
