import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { makePrivateFolder } from '../../src/host/durable-file.js';
import { Journal } from '../../src/journal/journal.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import type { StreamHeader } from '../../src/stream/stream-header.js';
import { targetKeyOf } from '../../src/targets/target-key.js';
import { patterned, undoFor } from '../support/blocks.js';
import { runWords } from '../support/run-program.js';
import { someHeader } from '../support/scenes/feed.js';
import { collectingSink } from '../support/streams.js';

const SIZE = 4 * 1024 * 1024;
const BASE = patterned(SIZE);
const parent = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'lvmsync-recover-'));
let [folder, target, state] = ['', '', ''];
afterAll(() => {
  rmSync(parent, { recursive: true });
});
beforeEach(() => {
  folder = mkdtempSync(join(parent, 'case-'));
  [target, state] = [join(folder, 'target'), join(folder, 'state')];
  writeFileSync(target, BASE);
});

/** Leaves the target half-written. */
async function cutShort(...more: readonly string[]) {
  const { status, said } = await runWords(
    ['--apply', '-', target, '--state-dir', state, ...more],
    await cutStream(),
  );
  expect(status).toBe(5);
  expect(readFileSync(target)).not.toBeBytes(BASE);
  return said;
}

const journal = async () => join(state, 'targets', (await targetKeyOf(target)).key, 'journal');
const recover = (...more: readonly string[]) => runWords(['recover', target, '--state-dir', state, ...more]);
/** Takes the target back, which leaves no trace of the apply. */
async function expectTakenBack(): Promise<void> {
  const { status, said } = await recover();
  expect(status, said.join('\n')).toBe(0);
  expect(readFileSync(target)).toBeBytes(BASE);
}

describe('a dry run of recover', () => {
  /** All files of the state directory, and their bytes, but for the lock's. */
  const left = () =>
    readdirSync(state, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.includes('lock'))
      .map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name)).toString('base64')]);

  it('says what would be taken back, from where to where, and leaves everything as it is', async () => {
    await cutShort();
    const [half, files] = [readFileSync(target), left()];
    const { status, said } = await recover('--dry-run');
    expect([status, said]).toEqual([
      0,
      [
        `dry run: ${target}: the earlier apply to state B was incomplete: it would be taken back to what it held before, ` +
          `state A (${SIZE / 2} bytes); nothing was written`,
      ],
    ]);
    expect(readFileSync(target)).toBeBytes(half);
    expect(left()).toEqual(files);
    await expectTakenBack();
    expect((await recover('--dry-run')).said).toEqual([expect.stringContaining('nothing to recover')]);
  });

  it('refuses what the recover would refuse, unless forced to', async () => {
    await cutShort();
    const half = readFileSync(target);
    half.fill('someone else', 0, 512);
    writeFileSync(target, half);
    const { status, said } = await recover('--dry-run');
    expect([status, said]).toEqual([7, [expect.stringMatching(/someone wrote to it since/)]]);
    expect(await recover('--dry-run', '--force=base')).toMatchObject({
      status: 0,
      said: [expect.stringMatching(/would be taken back to what it held before, state A/)],
    });
    rmSync(await journal());
    expect(await recover('--dry-run', '--force=base')).toMatchObject({
      status: 6,
      said: [expect.stringMatching(/it is gone/)],
    });
    expect(readFileSync(target)).toBeBytes(half);
  });

  it.each([
    ['its journal would be removed', null],
    ['its snapback would be called ', 'undo'],
  ])('of a complete apply says that %s', async (rest, name) => {
    const place = join(await journal(), '..');
    await makePrivateFolder(place);
    const snapback = name === null ? null : join(folder, name);
    const { log } = await Journal.begin(place, undoFor(SIZE, 4096), snapback);
    await log.end();
    await log.close();
    const { status, said } = await recover('--dry-run');
    const words = `the earlier apply was complete: it holds the result; ${rest}${snapback ?? ''}`;
    expect([status, said]).toEqual([0, [`dry run: ${target}: ${words}; nothing was written`]]);
    expect(existsSync(log.path)).toBe(true);
  });
});

describe('after an apply that was cut short', () => {
  it.each<[string, (path: string) => void]>([
    [
      'shortened',
      (path) => {
        truncateSync(path, 1_000_000);
      },
    ],
    [
      'damaged in one bit',
      (path) => {
        const bytes = readFileSync(path);
        bytes.writeUInt8(bytes.readUInt8(700_000) ^ 1, 700_000);
        writeFileSync(path, bytes);
      },
    ],
    ['gone', rmSync],
  ])('a journal that is %s stops a recover, and everything except for a full copy', async (what, damage) => {
    await cutShort();
    const path = await journal();
    damage(path);
    const half = readFileSync(target);
    const expectRefusal = async (words: readonly string[], input?: Buffer) => {
      const { status, said } = await runWords([...words, '--state-dir', state], input);
      const line: unknown = expect.stringMatching(
        /journal at byte \d+: it .*: copy the whole volume \("lvmsync copy"\)$/,
      );
      expect([status, said]).toEqual([6, [line]]);
      expect(readFileSync(target)).toBeBytes(half);
      expect(existsSync(path)).toBe(what !== 'gone');
    };
    await expectRefusal(['recover', target]);
    await expectRefusal(['--apply', '-', target], await cutStream());

    const source = join(folder, 'source');
    writeFileSync(source, Buffer.alloc(SIZE, 'source'));
    const { status, said } = await runWords(['copy', source, target, '--state-dir', state]);
    expect([status, said[0]], said.join('\n')).toEqual([
      0,
      expect.stringMatching(/the target cannot be recovered.*; this run overwrites the whole target$/),
    ]);
    expect(readFileSync(target)).toBeBytes(readFileSync(source));
    expect(existsSync(path)).toBe(false);
    expect((await recover()).said).toEqual([expect.stringContaining('nothing to recover')]);
  });

  it('a full copy that gives up the journal leaves the target recorded as half-copied, whatever happens next', async () => {
    await cutShort();
    rmSync(await journal());
    // its header promises a proof, and none comes
    const full = await cutStream({ kind: 'full', base: null, sample: { changed: 1, unchanged: 0 } });
    const copied = await runWords(['--apply', '-', target, '--state-dir', state], full);
    expect([copied.status, copied.said.join()]).toEqual([
      6,
      expect.stringMatching(/only 0 proofs, but the header promises 1/),
    ]);
    const recovered = await recover();
    expect([recovered.status, recovered.said]).toEqual([
      7,
      [expect.stringMatching(/part of an interrupted copy/)],
    ]);
    expect(await recover('--dry-run')).toMatchObject({ status: 7, said: recovered.said });
    const { status } = await runWords(['--apply', '-', target, '--state-dir', state], await cutStream());
    expect(status).toBe(7);
  });

  it('without a journal it cannot be taken back, and accepts only the same changes', async () => {
    await cutShort('--no-journal');
    const half = readFileSync(target);
    const { status, said } = await recover();
    expect([status, said]).toEqual([
      7,
      [
        `${target}: half-written by an apply without a journal, which cannot be taken back: run that transfer again, or "lvmsync --scan"`,
      ],
    ]);
    const next = await cutStream({ base: 'B', result: 'C' });
    const applied = await runWords(['--apply', '-', target, '--state-dir', state], next);
    expect([applied.status, applied.said]).toEqual([
      7,
      [expect.stringMatching(/part of an apply to .* that was interrupted, so repeat that one first: /)],
    ]);
    expect(readFileSync(target)).toBeBytes(half);
    const doctor = await runWords(['doctor', target, '--state-dir', state]);
    expect([doctor.status, doctor.stdout.toString()]).toEqual([
      12,
      expect.stringMatching(/problem {2}state: half-written: an apply to it without a journal/),
    ]);
  });

  it('without a journal, and with changes without a name, it accepts these again, and nothing else', async () => {
    const nameless = { kind: 'changes', base: null, result: null } as const;
    const apply = async (stream: Buffer) =>
      await runWords(['--apply', '-', target, '--state-dir', state, '--no-journal'], stream);
    expect((await apply(await cutStream(nameless))).status).toBe(5);
    expect(readFileSync(target)).not.toBeBytes(BASE);
    expect(await recover()).toMatchObject({
      status: 7,
      said: [expect.stringMatching(/half-written by an apply without a journal/)],
    });
    const next = await apply(await cutStream({ kind: 'changes', base: 'B', result: 'C' }));
    expect([next.status, next.said]).toEqual([
      7,
      [
        expect.stringMatching(
          /part of an apply to a state without a name that was interrupted, so repeat that one first/,
        ),
      ],
    ]);
    // The same again is let in, and cut once more; then all of it comes.
    expect((await apply(await cutStream(nameless))).status).toBe(5);
    expect((await apply(await cutStream(nameless, false))).status).toBe(0);
    expect((await recover()).status).toBe(0);
  });

  it('the doctor says how the target came into the state that it was taken back to', async () => {
    await cutShort();
    await expectTakenBack();
    const { stdout } = await runWords(['doctor', target, '--state-dir', state]);
    expect(stdout.toString()).toMatch(/state: exactly A, .*, brought by taking an interrupted apply back$/m);
  });

  it('the doctor says that a state directory has no record of the state, and why that may be', async () => {
    const { stdout } = await runWords(['doctor', target, '--state-dir', join(folder, 'other')]);
    expect(stdout.toString()).toContain(
      `state: not known: ${join(folder, 'other')} has no record of what it holds`,
    );
    expect(stdout.toString()).toContain('a recover cannot bring back a record that was not there');
  });

  it('a snapback on a file system that is not mounted is reported as such', async () => {
    mkdirSync(join(folder, 'disk'));
    await cutShort('--snapback', join(folder, 'disk/undo'));
    renameSync(join(folder, 'disk'), join(folder, 'unmounted'));
    const { status, said } = await recover();
    expect([status, said]).toEqual([
      6,
      [expect.stringMatching(/is gone, or its file system is not mounted/)],
    ]);
    renameSync(join(folder, 'unmounted'), join(folder, 'disk'));
    await expectTakenBack();
  });

  it('says how to take it back from where it was noted', async () => {
    state = join(folder, "the user's state");
    const [hint] = await cutShort();
    const words = `lvmsync recover --state-dir '${folder}/the user'\\''s state' ${target}`;
    expect(hint).toContain(`half-written; "${words}" takes it back`);
    const elsewhere = await runWords(['recover', target, '--state-dir', join(folder, 'elsewhere')]);
    expect([elsewhere.status, elsewhere.said]).toEqual([
      0,
      [
        `${target}: nothing to recover: ${folder}/elsewhere has no record of an interrupted apply to it. This says nothing about a run with another --state-dir, or of another user: for such a run, repeat this with its --state-dir`,
      ],
    ]);
    await expectTakenBack();
  });

  it('a state directory that was moved still takes it back', async () => {
    await cutShort();
    renameSync(state, join(folder, 'moved'));
    state = join(folder, 'moved');
    await expectTakenBack();
    expect(readdirSync(join(await journal(), '..')).filter((name) => /journal|apply/.test(name))).toEqual([]);
  });
});

/** A stream over half of the target, without its end unless that is wanted. */
async function cutStream(header: Partial<StreamHeader> = {}, isCut = true): Promise<Buffer> {
  const sink = collectingSink();
  const writer = new FrameWriter(sink);
  await writer.start({ ...someHeader(SIZE), base: 'A', result: 'B', ...header });
  for (let at = 0; at < SIZE; at += SIZE / 4) await writer.data(at, Buffer.alloc(SIZE / 8, 'new'));
  // What goes back is written at once.
  await writer.nextPass();
  await writer.zero(0, 4096);
  if (!isCut) await writer.finish();
  return sink.bytes();
}
