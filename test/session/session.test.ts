import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChangeSource } from '../../src/changes/change-source.js';
import { listCodecs } from '../../src/codec/load-codec.js';
import {
  DeviceError,
  FarError,
  FarSideError,
  LvmsyncError,
  SnapshotError,
  TransportError,
  UnsafeTargetError,
} from '../../src/errors.js';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import type { SendOptions } from '../../src/send/send-changes.js';
import { encodeHello, encodeResult } from '../../src/session/messages.js';
import { runSender, type FarSide } from '../../src/session/sender.js';
import { encodeFrame, OPTIONAL, PROTOCOL_LINE } from '../../src/stream/frame-format.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { createLocalPipe } from '../../src/transport/local-pipe.js';
import { altered, changesOf, CHUNK, volumeOf } from '../support/change-source.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { scriptedFarSide } from '../support/scenes/scripted-far-side.js';
import { quietSurroundings } from '../support/surroundings.js';

const CHUNKS = 600;
const policy = { ...DEFAULT_POLICY, journal: false };
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-session-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const CHANGED = Array.from({ length: 500 }, (_, i) => i);

function startReceiver(target: MemoryDevice, env = quietSurroundings()) {
  return startLocalReceiver(() => Promise.resolve(openInMemory(target, folder)), policy, env);
}

function source(): ChangeSource {
  return changesOf(volumeOf(CHUNKS, 2), [CHANGED]);
}

function run(far: FarSide, from: ChangeSource = source(), helloMs = 2000) {
  const limits = { helloMs, farewellMs: 500 };
  return runSender({ ...far, limits }, from, { proofs: true }, quietSurroundings());
}

const line = Buffer.from(PROTOCOL_LINE);
const hello = Buffer.concat([
  line,
  encodeHello({ version: '1', targetSize: CHUNKS * CHUNK, holds: null, stale: false }, 0),
]);

describe('a session', () => {
  it('ends when the receiver has everything on stable storage', async () => {
    const target = volumeOf(CHUNKS, 1);
    const summary = await run(startReceiver(target).far);
    const expected = Buffer.concat([
      volumeOf(CHUNKS, 2).bytes.subarray(0, 500 * CHUNK),
      volumeOf(CHUNKS, 1).bytes.subarray(500 * CHUNK),
    ]);
    expect(target.bytes).toBeBytes(expected);
    expect(target.calls.slice(-2)).toEqual(['flush', 'close']);
    expect(summary.sentBytes).toBeGreaterThan(500 * CHUNK);
  });

  it('refuses a target that is too small before anything is written', async () => {
    const target = new MemoryDevice(CHUNK, '/dev/small');
    const { far, outcome } = startReceiver(target);
    const sending = run(far);
    await expect(sending).rejects.toThrow(FarError);
    await expect(sending).rejects.toMatchObject({ code: 'UNSAFE_TARGET' });
    expect((await outcome).error).toBeInstanceOf(UnsafeTargetError);
    expect(target.calls).toEqual(['close']);
  });

  it('reports a target that cannot be opened', async () => {
    const open = () =>
      Promise.reject(new DeviceError('/dev/gone', 'open', null, new Error('ENOENT: no such file')));
    const { far } = startLocalReceiver(open, policy, quietSurroundings());
    await expect(run(far)).rejects.toThrow('target: /dev/gone: open failed: ENOENT');
  });

  it.each([{ badByte: 300 * CHUNK }, { flushFails: true }])(
    'reports a target that fails: %o',
    async (faults) => {
      const target = new MemoryDevice(CHUNKS * CHUNK, '/dev/bad', faults);
      const env = quietSurroundings();
      const sending = run(startReceiver(target, env).far);
      await expect(sending).rejects.toMatchObject({ code: 'DEVICE' });
      await expect(sending).rejects.toThrow(/\/dev\/bad: (write at byte|flush failed)/);
      expect(env.notices.join()).toMatch(/half-written/);
    },
  );

  it('leaves the receiver without an end frame when the source fails', async () => {
    const bad = changesOf(new MemoryDevice(CHUNKS * CHUNK, '/dev/origin', { badByte: 400 * CHUNK }), [
      CHANGED,
    ]);
    const { far, outcome } = startReceiver(volumeOf(CHUNKS, 1));
    await expect(run(far, bad)).rejects.toThrow('/dev/origin: read at byte');
    expect((await outcome).error).toMatchObject({ code: 'TRUNCATED' });
  });

  it('leaves it without one when the snapshot overflowed', async () => {
    const overflowed = altered(source(), {
      watch: { checkValid: () => Promise.reject(new SnapshotError('vg/snap', 'invalid')) },
    });
    const { far, outcome } = startReceiver(volumeOf(CHUNKS, 1));
    await expect(run(far, overflowed)).rejects.toThrow(SnapshotError);
    expect((await outcome).error).toMatchObject({ code: 'TRUNCATED' });
  });
});

const codecs = await listCodecs();

describe('compression', () => {
  const packed = {
    proofs: true,
    compression: { kind: 'codec', name: 'zlib', level: null },
  } as const;
  const send = (far: FarSide, options: SendOptions) => runSender(far, source(), options, quietSurroundings());

  it.each(codecs)('by %s leaves the same target, and fewer bytes on the line', async (name) => {
    const [asItIs, target] = [volumeOf(CHUNKS, 1), volumeOf(CHUNKS, 1)];
    await run(startReceiver(asItIs).far);
    const wish = { kind: 'codec', name, level: null } as const;
    const summary = await send(startReceiver(target).far, { ...packed, compression: wish });
    expect(target.bytes).toBeBytes(asItIs.bytes);
    expect(summary).toMatchObject({ codec: name, changedBytes: 500 * CHUNK });
    expect(summary.sentBytes).toBeLessThan(500 * CHUNK * 0.3);
  });

  it('is left out if it makes nothing faster', async () => {
    const auto = { ...packed, compression: { kind: 'auto' } } as const;
    const summary = await send(startReceiver(volumeOf(CHUNKS, 1)).far, auto);
    expect(summary).toMatchObject({ codec: null });
  });

  it('cannot be done for a receiver that cannot decompress, and the user is told before anything is written', async () => {
    const far = scriptedFarSide(Buffer.alloc(0), 0);
    const input = (async function* () {
      yield hello;
      await far.transport.exit;
    })();
    const sending = send({ ...far, transport: { ...far.transport, input } }, packed);
    await expect(sending).rejects.toThrow(FarSideError);
    await expect(sending).rejects.toThrow('far: its lvmsync 1 cannot decompress zlib (it supports no codec)');
  });
});

describe('a far side that is not a receiver', () => {
  it.each([
    ['is missing', Buffer.alloc(0), 127, FarSideError, /lvmsync was not found.*command not found/],
    ['is too old', Buffer.alloc(0), 2, FarSideError, /too old/],
    [
      'reads everything and ends well, saying nothing',
      Buffer.alloc(0),
      0,
      TransportError,
      /without reporting a result/,
    ],
    ['says hello and ends well', hello, 0, TransportError, /without reporting a result/],
    ['loses the line', hello, null, TransportError, /the connection broke/],
  ] as const)('%s', async (_name, says, status, kind, message) => {
    const running = run(scriptedFarSide(says, status, 'sh: lvmsync: command not found'));
    await expect(running).rejects.toThrow(kind);
    await expect(running).rejects.toThrow(message);
  });

  it('whose login script prints something is distinguished from a receiver', async () => {
    const chatter = Buffer.concat([Buffer.from('Welcome to far!\n'), hello]);
    const running = run(scriptedFarSide(chatter, 0));
    await expect(running).rejects.toThrow(FarSideError);
    await expect(running).rejects.toThrow(
      /far: the far side printed "Welcome to far!" before lvmsync's first message: .*\.bashrc, prints it.*"ssh \S+ true" must print nothing/,
    );
  });

  it.each([
    ['without an end of its line', 'hello', /"hellolvmsync PROTO\[4\]" before lvmsync's/],
    ['an empty line', '\n', /"" before lvmsync's/],
    [
      'letters of many bytes, and what plays with a terminal',
      'zurück\x1b[2J\n',
      /"zurück\\x1b\[2J" before lvmsync's/,
    ],
    ['a line that does not end', 'x'.repeat(500), /"x{64}" before lvmsync's/],
    ['a line of the protocol, once more', 'lvmsync PROTO[4]\n', /frame number at byte/],
  ])('which prints %s is never mistaken for a receiver', async (_, printed, message) => {
    const far = scriptedFarSide(Buffer.concat([Buffer.from(printed), hello]), 0);
    await expect(run(far)).rejects.toThrow(message);
  });

  it('reports success too early', async () => {
    const early = Buffer.concat([line, encodeResult({ ok: true, blocks: 0, mismatches: 0 }, 0)]);
    await expect(run(scriptedFarSide(early, 0))).rejects.toThrow(TransportError);
  });

  it('reports success for other blocks than were sent', async () => {
    const far = scriptedFarSide(Buffer.alloc(0), 0);
    const input = (async function* () {
      yield hello;
      await far.transport.exit;
      yield encodeResult({ ok: true, blocks: 7, mismatches: 0 }, 1);
    })();
    await expect(run({ ...far, transport: { ...far.transport, input } })).rejects.toThrow(
      /7 blocks, but 2 were sent/,
    );
  });

  it.each([
    ['an optional reply that is not known is skipped', 'z', OPTIONAL, /5 blocks, but 2 were sent/],
    ['any other one is refused', 'z', 0, /not a reply/],
    ['as is a frame of the stream', 'Z', OPTIONAL, /not a reply/],
  ])('sends more than is known: %s', async (_name, type, flags, message) => {
    const far = scriptedFarSide(Buffer.alloc(0), 0);
    const input = (async function* () {
      yield hello;
      yield encodeFrame(type, flags, 1, Buffer.from('news'));
      await far.transport.exit;
      yield encodeResult({ ok: true, blocks: 5, mismatches: 0 }, 2);
    })();
    await expect(run({ ...far, transport: { ...far.transport, input } })).rejects.toThrow(message);
  });

  it.each(['h', 'r'])('sets unknown flags on its %s', async (type) => {
    const flagged = encodeFrame(type, 2, type === 'h' ? 0 : 1, Buffer.from('{"ok":true,"blocks":2}'));
    const says = Buffer.concat(type === 'h' ? [line, flagged] : [hello, flagged]);
    await expect(run(scriptedFarSide(says, 0))).rejects.toThrow(`${type} frame at byte`);
    await expect(run(scriptedFarSide(says, 0))).rejects.toThrow('unknown flags 0x2');
  });

  it('hangs at its start', async () => {
    const silent = createLocalPipe();
    const far = scriptedFarSide(Buffer.alloc(0), 0);
    const hanging = { ...far, transport: { ...far.transport, input: silent.source } };
    await expect(run(hanging, source(), 50)).rejects.toThrow(/no answer from the far side's lvmsync/);
  });

  it('refuses in the middle, which is reported', async () => {
    const refusal = encodeResult(
      { ok: false, code: 'DEVICE', message: '/dev/t: write at byte 4096 failed: EIO' },
      1,
    );
    const running = run(scriptedFarSide(Buffer.concat([hello, refusal]), 8));
    await expect(running).rejects.toThrow('far: /dev/t: write at byte 4096 failed: EIO');
    await expect(running).rejects.toMatchObject({ code: 'DEVICE' });
  });

  it.each([
    ['no JSON', Buffer.concat([hello, Buffer.from('garbage of more than a frame header')])],
    ['a cut frame', hello.subarray(0, hello.length - 3)],
  ])('sends %s', async (_name, says) => {
    await expect(run(scriptedFarSide(says, 0))).rejects.toThrow(LvmsyncError);
  });
});
