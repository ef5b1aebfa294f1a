import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { quoteWords } from '../../src/transport/shell-words.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsyncCommand,
  run,
  seededBytes,
  startSshd,
  writeBytes,
  type Sshd,
} from './support/lab.js';
import { copyDevice } from './support/devices.js';
import { expectFailure, runLvmsync } from './support/outcomes.js';
import { publicKeyOf } from './support/sshd.js';
import { writeUndo } from './support/undo-archive.js';
import { useVolumeGroup } from './support/volume-group.js';

/* `VG/LV` is taken wherever a volume is, as its target, too; one that is inactive is said to be. */

const GROUP = 'vg-names';
const SNAPSHOT = `${GROUP}/snap`;
const TARGET = `${GROUP}/target`;
const STATE = '/run/names-state';
const SIZE = 4 << 20;

const old = seededBytes('old', SIZE);
const present = Buffer.from(old);
seededBytes('new', 65_536).copy(present, 1 << 20);

let sshd: Sshd;
let changed = '';
let base = '';
let folder = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  const origin = await createVolume(GROUP, 'origin', '4M');
  await createVolume(GROUP, 'target', '4M');
  await writeBytes(origin, 0, old);
  await createSnapshot(GROUP, 'origin', 'snap', { size: '4M' });
  base = await digestOf(origin);
  await writeBytes(origin, 1 << 20, present.subarray(1 << 20, (1 << 20) + 65_536));
  changed = await digestOf(origin);
});
afterAll(() => sshd.stop());
/** A target that holds what the snapshot froze, with no record. */
async function renewTarget(): Promise<void> {
  rmSync(STATE, { recursive: true, force: true });
  await copyDevice(`/dev/${SNAPSHOT}`, `/dev/${TARGET}`);
  folder = mkdtempSync('/run/names-');
}

const state = ['--state-dir', STATE] as const;

/** Runs lvmsync in a folder of the test's own. */
async function runIn(place: string, words: readonly string[]): Promise<void> {
  await run(['bash', '-c', 'cd "$1" && shift && exec "$@"', 'in', place, ...lvmsyncCommand(...words)]);
}

describe('VG/LV', () => {
  beforeEach(renewTarget);

  it.each([
    ['as a local target', TARGET],
    ['as a target of another host', `root@127.0.0.1:${TARGET}`],
  ])('%s is the volume', async (_, word) => {
    await runLvmsync(SNAPSHOT, word, ...state);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(changed);
    await runLvmsync('verify', `${GROUP}/origin`, word);
    await writeBytes(`/dev/${TARGET}`, 4096, Buffer.alloc(4096, 1));
    await runLvmsync('--scan', `${GROUP}/origin`, word, ...state);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(changed);
    await runLvmsync('copy', SNAPSHOT, word, ...state);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(base);
  });

  it('is the existing volume, which a copy with --create writes', async () => {
    mkdirSync(path.join(folder, GROUP));
    await runIn(folder, ['copy', SNAPSHOT, TARGET, '--create', ...state]);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(base);
  });

  it('is a target of pull, --apply and recover, and the volume of a store in files', async () => {
    await runLvmsync('pull', `root@127.0.0.1:${SNAPSHOT}`, TARGET, ...state);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(changed);
    await runLvmsync('recover', TARGET, ...state);
    await copyDevice(`/dev/${SNAPSHOT}`, `/dev/${TARGET}`);
    const stream = path.join(folder, 'stream');
    await run(['bash', '-c', `"$@" > ${stream}`, 'to', ...lvmsyncCommand(SNAPSHOT, '--stdout')]);
    await runLvmsync('--apply', stream, TARGET, '--state-dir', path.join(folder, 'state'));
    expect(await digestOf(`/dev/${TARGET}`)).toBe(changed);
    const files = ['--cow', `${GROUP}/snap-as-file`, '--origin', `${GROUP}/origin`];
    await expectFailure([...files, '--stdout'], 8, /vg-names\/snap-as-file: .*ENOENT/);
    await createVolume(GROUP, 'store', '4M');
    await copyDevice(`/dev/mapper/${GROUP.replace('-', '--')}-snap-cow`, `/dev/${GROUP}/store`);
    const inspected = await runLvmsync('inspect', '--cow', `${GROUP}/store`, '--origin', `${GROUP}/origin`);
    expect(inspected).toMatch(/store: valid exception store/);
    await run(['lvremove', '-qq', '-f', `${GROUP}/store`]);
  });

  it('is a target of restore and of a view', async () => {
    await writeBytes(`/dev/${TARGET}`, 0, present);
    const archive = path.join(folder, 'undo');
    await writeUndo(archive, old, present, { base: 'new', result: 'old' });
    const forced = ['--force', 'base', ...state];
    await runLvmsync('view', 'open', 'past', TARGET, archive, ...forced);
    expect(await digestOf(`/dev/${GROUP}/past`)).toBe(base);
    await runLvmsync('view', 'close', 'past', ...state);
    await runLvmsync('restore', TARGET, '--to', 'old', '--from', folder, ...state);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(base);
  });

  it('is a file of that name if there is one', async () => {
    mkdirSync(path.join(folder, GROUP));
    writeFileSync(path.join(folder, TARGET), old);
    await runIn(folder, [SNAPSHOT, TARGET, ...state]);
    expect(readFileSync(path.join(folder, TARGET))).toBeBytes(present);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(base);
    await runIn(folder, ['verify', TARGET, `${GROUP}/origin`]);
  });
});

describe('a volume that is inactive', () => {
  const advice = /inactive: activate it first \(lvchange -ay -K vg-names\/target\)/;
  beforeAll(() => run(['lvchange', '-qq', '-an', TARGET]));
  afterAll(() => run(['lvchange', '-qq', '-ay', TARGET]));

  it.each([TARGET, `/dev/${TARGET}`, '/dev/mapper/vg--names-target'])('%s is inactive', async (name) => {
    await expectFailure([SNAPSHOT, name], 3, advice);
    await expectFailure(['--scan', `${GROUP}/origin`, name], 3, advice);
    await expectFailure(['copy', SNAPSHOT, name], 3, advice);
    await expectFailure(['copy', name, `/dev/${GROUP}/origin`], 4, advice);
    await expectFailure(['verify', `${GROUP}/origin`, name], 3, advice);
    await expectFailure(['verify', name, `${GROUP}/origin`], 4, advice);
    await expectFailure(['recover', name], 3, advice);
    await expectFailure(['inspect', name], 4, advice);
  });

  it('on another host is reported as inactive there', async () => {
    await expectFailure([SNAPSHOT, `root@127.0.0.1:${TARGET}`], 3, advice);
    await expectFailure(['verify', `${GROUP}/origin`, `root@127.0.0.1:${TARGET}`], 3, advice);
  });

  it('is not what other names mean', async () => {
    for (const name of [`${GROUP}/nix`, 'no-group/nix', '/run/nix']) {
      await expectFailure([SNAPSHOT, name], 8, /nix: .*ENOENT.*does not create targets/);
    }
  });
});

describe('a locked-down receiver', () => {
  const authorized = path.join(homedir(), '.ssh/authorized_keys');
  let before = '';
  beforeAll(() => {
    before = readFileSync(authorized, 'utf8');
    const key = publicKeyOf(path.join(homedir(), '.ssh/id_ed25519'));
    const line = `/run/bin/lvmsync receive --restrict --state-dir ${STATE} --allow ${quoteWords([`/dev/${GROUP}/t*`])}`;
    writeFileSync(authorized, `restrict,command="${line}" ${key}\n`, { mode: 0o600 });
  });
  afterAll(() => {
    writeFileSync(authorized, before);
  });

  beforeEach(renewTarget);

  it('takes VG/LV for the volume that it leads to, which must be allowed', async () => {
    await runLvmsync(SNAPSHOT, `127.0.0.1:${TARGET}`);
    expect(await digestOf(`/dev/${TARGET}`)).toBe(changed);
    await runLvmsync('verify', `${GROUP}/origin`, `127.0.0.1:${TARGET}`);
  });

  it('says the same of a volume that is not allowed, of an inactive one, and of no volume', async () => {
    await createVolume(GROUP, 'off', '4M');
    await run(['lvchange', '-qq', '-an', `${GROUP}/off`]);
    for (const name of ['origin', 'off', 'nix']) {
      for (const words of [[SNAPSHOT], ['verify', SNAPSHOT]]) {
        const stderr = await expectFailure(
          [...words, `127.0.0.1:${GROUP}/${name}`],
          3,
          /: not among the targets that this receiver allows/,
        );
        expect(stderr.trim()).toBe(
          `lvmsync: 127.0.0.1: ${GROUP}/${name}: not among the targets that this receiver allows`,
        );
      }
    }
    await run(['lvremove', '-qq', '-f', `${GROUP}/off`]);
  });
});
