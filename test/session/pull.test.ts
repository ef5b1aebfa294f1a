import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CopyingPipe } from '../support/copying-pipe.js';
import type { ChangeSource } from '../../src/changes/change-source.js';
import {
  BaseMismatchError,
  DeviceError,
  FarError,
  FarSideError,
  FormatError,
  InterruptedError,
  LvmsyncError,
  SnapshotError,
  TransportError,
  UnsafeTargetError,
} from '../../src/errors.js';
import { encodeResult } from '../../src/session/messages.js';
import { askPlan } from '../../src/session/ask-plan.js';
import { runPulledSender, type PulledOutcome, type TalkToReceiver } from '../../src/session/pulled-sender.js';
import { runPuller } from '../../src/session/puller.js';
import { runSender, type FarSide } from '../../src/session/sender.js';
import { encodeFrame, PROTOCOL_LINE } from '../../src/stream/frame-format.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { createLocalPipe } from '../../src/transport/local-pipe.js';
import { sinkFrom, sourceFrom } from '../../src/transport/stream-channel.js';
import { altered, changesOf, CHUNK, type SourceParts, volumeOf } from '../support/change-source.js';
import { explainEndAfter } from '../support/far-end.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { scriptedFarSide } from '../support/scenes/scripted-far-side.js';
import { collectingSink } from '../support/streams.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 8;
const CHANGED = [1, 2, 6];
const policy = { ...DEFAULT_POLICY, journal: false };
const how = { proofs: true };
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-pull-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function source({ volumes, watch = {} }: SourceParts = {}): ChangeSource {
  const changes = changesOf(volumeOf(CHUNKS, 2), [CHANGED]);
  return altered(changes, { volumes: { base: volumeOf(CHUNKS, 1), ...volumes }, watch });
}

/** A target must hold the old volume with the changed chunks. */
function expectChanged(target: MemoryDevice): void {
  const expected = Buffer.from(volumeOf(CHUNKS, 1).bytes);
  for (const chunk of CHANGED)
    volumeOf(CHUNKS, 2).bytes.copy(expected, chunk * CHUNK, chunk * CHUNK, (chunk + 1) * CHUNK);
  expect(target.bytes).toBeBytes(expected);
}

const sendWith =
  (env = quietSurroundings()): TalkToReceiver =>
  (far, from) =>
    runSender(far, from, how, env);
const ask: TalkToReceiver = (far, from) => askPlan(far, from, how, quietSurroundings());

function pull(far: FarSide, target = volumeOf(CHUNKS, 1), env = quietSurroundings(), helloMs = 2000) {
  const open = () => Promise.resolve(openInMemory(target, folder));
  return runPuller({ ...far, limits: { helloMs, farewellMs: 500 } }, open, policy, env);
}

/** What a sender writes when all goes well. */
async function goodBytes(): Promise<Buffer> {
  const sender = startSender(() => Promise.resolve(source()));
  await pull(sender.far);
  return sender.written();
}

describe('a pull', () => {
  it('ends when all is on stable storage and both ends agree', async () => {
    const target = volumeOf(CHUNKS, 1);
    const { far, outcome, written } = startSender(() => Promise.resolve(source()));
    const summary = await pull(far, target);
    expectChanged(target);
    expect(target.calls.slice(-2)).toEqual(['flush', 'close']);
    expect(summary).toEqual({
      ...{
        tableBytes: 3 * CHUNK,
        changedBytes: 3 * CHUNK,
        resumedBytes: 0,
        blocks: 2,
        volumeSize: CHUNKS * CHUNK,
      },
      ...{ consistent: true, codec: null, mismatches: 0, suspect: null, sentBytes: written().length },
      ...{ verified: { bytes: 0, since: null }, targetSize: CHUNKS * CHUNK },
    });
    expect(await outcome).toEqual({ error: null, told: true });
  });

  it('fetches nothing in a dry run, but says what it would fetch', async () => {
    const target = volumeOf(CHUNKS, 1);
    const dry = { ...policy, dryRun: true };
    const sender = startSender(() => Promise.resolve(source()), ask);
    const open = () => Promise.resolve(openInMemory(target, folder));
    const summary = await runPuller(sender.far, open, dry, quietSurroundings());
    expect(target.bytes).toBeBytes(volumeOf(CHUNKS, 1).bytes);
    expect(summary).toMatchObject({ changedBytes: 3 * CHUNK });
  });

  it.each([
    ['a snapshot that is none', () => Promise.reject(new SnapshotError('vg/snap', 'overflowed')), 'SNAPSHOT'],
    [
      'data that cannot be read',
      () => {
        const data = new MemoryDevice(CHUNKS * CHUNK, '/dev/origin', { badByte: 6 * CHUNK });
        return Promise.resolve(source({ volumes: { data } }));
      },
      'DEVICE',
    ],
    [
      'a snapshot that overflows meanwhile',
      () =>
        Promise.resolve(
          source({ watch: { checkValid: () => Promise.reject(new SnapshotError('vg/snap', 'overflowed')) } }),
        ),
      'SNAPSHOT',
    ],
  ])('fails as the sender does, with its words: %s', async (_name, open, code) => {
    const { far, outcome } = startSender(open);
    const pulling = pull(far);
    await expect(pulling).rejects.toThrow(FarError);
    await expect(pulling).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/^far: .*(overflowed|read at byte)/) as string,
    });
    expect(await outcome).toMatchObject({ error: { code }, told: true });
  });

  it.each([
    ['too small a target', () => new MemoryDevice(CHUNK, '/dev/small'), UnsafeTargetError],
    ['another volume', () => volumeOf(CHUNKS, 9), BaseMismatchError],
    [
      'a bad disk',
      () => new MemoryDevice(Buffer.from(volumeOf(CHUNKS, 1).bytes), '/dev/bad', { flushFails: true }),
      DeviceError,
    ],
  ])('fails with its own words if this side fails, and the sender ends: %s', async (_name, make, kind) => {
    const { far, outcome } = startSender(() => Promise.resolve(source()));
    const pulling = pull(far, make());
    await expect(pulling).rejects.toThrow(kind);
    await expect(pulling).rejects.not.toThrow(FarError);
    expect((await outcome).error).not.toBeNull();
  });

  it('leaves a stream without an end when its sender is stopped by a signal', async () => {
    const stop = new AbortController();
    const env = { ...quietSurroundings(), signal: stop.signal };
    const open = () => {
      stop.abort(new InterruptedError('SIGTERM'));
      return Promise.resolve(source());
    };
    const { far, outcome } = startSender(open, sendWith(env));
    await expect(pull(far)).rejects.toMatchObject({ code: 'TRANSPORT' });
    expect((await outcome).error).toBeInstanceOf(InterruptedError);
  });
});

describe('a sender that is cut', () => {
  it('at any byte, is never a success', async () => {
    const bytes = await goodBytes();
    const cut = fc.oneof(
      fc.integer({ min: 0, max: bytes.length - 1 }),
      fc.integer({ min: bytes.length - 400, max: bytes.length - 1 }),
    );
    await fc.assert(
      fc.asyncProperty(cut, async (length) => {
        const pulling = pull(scriptedFarSide(bytes.subarray(0, length), null));
        await expect(pulling).rejects.toThrow(LvmsyncError);
        await expect(pulling).rejects.toMatchObject({
          code: expect.stringMatching(/^(TRANSPORT|TRUNCATED)$/) as string,
        });
      }),
      { numRuns: 60 },
    );
    await pull(scriptedFarSide(bytes));
  });

  it('after its stream, says that everything is written, and fails', async () => {
    const bytes = await goodBytes();
    const target = volumeOf(CHUNKS, 1);
    const word = bytes.lastIndexOf('{"ok":true') - 14;
    await expect(pull(scriptedFarSide(bytes.subarray(0, word)), target)).rejects.toThrow(
      'far: everything that was received is on stable storage here, but the sender ended before it confirmed that',
    );
    expectChanged(target);
  });
});

describe('a last word', () => {
  const sizes = { tableBytes: 0, changedBytes: 0, resumedBytes: 0, volumeSize: 0 };
  const sent = { ...sizes, consistent: true, codec: null };
  const streamOf = (bytes: Buffer) => bytes.subarray(0, bytes.lastIndexOf('{"ok":true') - 14);

  it.each([
    [
      'of other blocks than came',
      encodeResult({ ok: true, blocks: 5, ...sent }, 0),
      /5 blocks, and 2 were received/,
    ],
    [
      'of a failure after all',
      encodeResult({ ok: false, code: 'DEVICE', message: 'it broke' }, 0),
      /^far: it broke$/,
    ],
    ['that is none', encodeFrame('Z', 0, 0, Buffer.alloc(16)), /unexpected data after the end frame/],
    ['that is no JSON', encodeFrame('r', 0, 0, Buffer.from('{')), /last word/],
    ['that is endless', encodeFrame('r', 0, 0, Buffer.alloc(70_000)), /too long/],
    [
      'with something behind it',
      Buffer.concat([encodeResult({ ok: true, blocks: 2, ...sent }, 0), Buffer.from('x')]),
      /unexpected data after the last word/,
    ],
  ])('%s, is refused', async (_name, word, message) => {
    const bytes = await goodBytes();
    await expect(pull(scriptedFarSide(Buffer.concat([streamOf(bytes), word])))).rejects.toThrow(message);
  });

  it('that is damaged is refused', async () => {
    const bytes = await goodBytes();
    bytes.writeUInt8(0x20, bytes.length - 10);
    await expect(pull(scriptedFarSide(bytes))).rejects.toThrow(FormatError);
  });

  it('of success before the end frame means a truncated stream', async () => {
    const word = encodeResult({ ok: true, blocks: 0, ...sent }, 0);
    const pulling = pull(scriptedFarSide(Buffer.concat([Buffer.from(PROTOCOL_LINE), word])));
    await expect(pulling).rejects.toMatchObject({ code: 'TRANSPORT' });
  });
});

describe('a far side that is not a sender', () => {
  it.each([
    ['is missing', 127, FarSideError, /lvmsync was not found/],
    ['ends well without a word', 0, TransportError, /without reporting a result/],
    ['loses the line', null, TransportError, /the connection broke/],
  ] as const)('%s', async (_name, status, kind, message) => {
    const pulling = pull(scriptedFarSide(Buffer.alloc(0), status, 'sh: lvmsync: command not found'));
    await expect(pulling).rejects.toThrow(kind);
    await expect(pulling).rejects.toThrow(message);
  });

  it.each([
    [
      'Welcome to far!\n',
      /far: the far side printed "Welcome to far!" before lvmsync's first message: .*\.bashrc/,
    ],
    ['lvmsync PROTO[3]\n', /stream from far: .*only PROTO\[4\] can be pulled/],
  ])('says %j', async (says, message) => {
    await expect(pull(scriptedFarSide(Buffer.from(says)))).rejects.toThrow(message);
  });

  it('hangs at its start', async () => {
    const silent = createLocalPipe();
    const far = scriptedFarSide(Buffer.alloc(0));
    const hanging = { ...far, transport: { ...far.transport, input: silent.source } };
    await expect(pull(hanging, volumeOf(CHUNKS, 1), quietSurroundings(), 50)).rejects.toThrow(
      /no answer from the far side's lvmsync/,
    );
  });
});

/** A far sender in this process, behind two pipes; what it wrote is kept. */
function startSender(open: () => Promise<ChangeSource>, talk = sendWith()) {
  const [stream, replies] = [new CopyingPipe(), new CopyingPipe()];
  const kept = collectingSink();
  const sink = sinkFrom(stream, 'the receiver');
  const output = {
    write: async (piece: Uint8Array) => {
      await kept.write(piece);
      await sink.write(Buffer.from(piece));
      // An answer may be here before its own question is known to be written.
      await sleep(2);
    },
    end: () => sink.end(),
  };
  const line = { input: sourceFrom(replies, 'the receiver'), output };
  const outcome: Promise<PulledOutcome> = runPulledSender(line, open, talk).finally(() => {
    stream.end();
    replies.destroy();
  });
  const far: FarSide = {
    explainEnd: explainEndAfter(),
    transport: {
      host: 'far',
      output: sinkFrom(replies, 'far'),
      input: sourceFrom(stream, 'far'),
      exit: outcome.then(({ error }) => ({ status: error === null ? 0 : 1, signal: null })),
      destroy: () => {
        stream.destroy();
        replies.destroy();
        return Promise.resolve();
      },
    },
  };
  return { far, outcome, written: () => kept.bytes() };
}
