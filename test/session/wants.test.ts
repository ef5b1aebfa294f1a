import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Extent } from '../../src/bytes/extent.js';
import { FormatError, TransportError } from '../../src/errors.js';
import { startLocalReceiver } from '../../src/reach/local-far-side.js';
import { WantedPieces } from '../../src/send/wanted-pieces.js';
import { encodeDurable, encodeHello, encodeWant } from '../../src/session/messages.js';
import { runSender, type FarSide } from '../../src/session/sender.js';
import { PROTOCOL_LINE } from '../../src/stream/frame-format.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { createLocalPipe } from '../../src/transport/local-pipe.js';
import { altered, changesOf, CHUNK, volumeOf } from '../support/change-source.js';
import { explainEndAfter } from '../support/far-end.js';
import { openInMemory } from '../support/open-target.js';
import { someHeader } from '../support/scenes/feed.js';
import { takeAll } from '../support/scenes/scripted-far-side.js';
import { quietSurroundings } from '../support/surroundings.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-wants-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const VOLUME = 8 * CHUNK;
const PIECE = { offset: 2 * CHUNK, length: CHUNK };
const NEXT = { offset: 5 * CHUNK, length: CHUNK };

describe('what a receiver can want', () => {
  function offered(): WantedPieces {
    const wanted = new WantedPieces();
    // The second of three pieces went out whole.
    wanted.offer(0);
    wanted.offer(2);
    return wanted;
  }
  const pieces = [PIECE, { offset: 4 * CHUNK, length: CHUNK }, NEXT];
  const settle = (...extents: readonly Extent[]) => {
    const wanted = offered();
    for (const extent of extents) wanted.take(extent, 'far', 0);
    wanted.settle(pieces, 'far');
    return [...wanted.extents()];
  };

  it('is what was sent as sections', () => {
    expect(settle()).toEqual([]);
    expect(settle(NEXT)).toEqual([NEXT]);
    expect(settle(PIECE, NEXT)).toEqual([PIECE, NEXT]);
  });

  it.each([
    ['what was sent whole', [{ offset: 4 * CHUNK, length: CHUNK }]],
    ['a part of a piece', [{ offset: 2 * CHUNK, length: 512 }]],
    ['more than a piece', [{ offset: 2 * CHUNK, length: 2 * CHUNK }]],
    ['what is no piece at all', [{ offset: 0, length: CHUNK }]],
    ['the same twice', [PIECE, PIECE]],
    ['out of order', [NEXT, PIECE]],
    ['more than there were', [PIECE, NEXT, { offset: 7 * CHUNK, length: CHUNK }]],
  ])('and not %s', (_name, extents) => {
    expect(() => settle(...extents)).toThrow(FormatError);
  });

  it('nothing after it said that this was all', () => {
    const wanted = offered();
    wanted.settle(pieces, 'far');
    expect(() => {
      wanted.take(PIECE, 'far', 0);
    }).toThrow(/but said before that this was all/);
  });
});

describe('a receiver that is not to be trusted', () => {
  const hello = Buffer.concat([
    Buffer.from(PROTOCOL_LINE),
    encodeHello({ version: '1', targetSize: VOLUME, sections: true }, 0),
  ]);

  /** Says this once a checkpoint, the one before the end, came in; then nothing more. */
  function farSide(says: (checkpoint: number) => readonly Buffer[]): FarSide {
    const pipe = createLocalPipe();
    let tell: (frame: number) => void = () => undefined;
    const asked = new Promise<number>((resolve) => (tell = resolve));
    const swallow = (async () => {
      let bytes = Buffer.alloc(0);
      for await (const piece of pipe.source) {
        bytes = Buffer.concat([bytes, piece]);
        for (let at = 17; at + 14 <= bytes.length; at += 18 + bytes.readUInt32BE(at)) {
          if (bytes[at + 4] === 'C'.charCodeAt(0)) tell(Number(bytes.readBigUInt64BE(at + 6)));
        }
      }
    })().catch(() => undefined);
    const input = (async function* () {
      yield hello;
      const frames = says(await asked);
      for (const frame of frames) yield await Promise.resolve(frame);
      // What it says shall be heard before how it ended.
      if (frames.length > 0) await swallow;
    })();
    const transport = {
      ...{ host: 'far', output: pipe.sink, input },
      exit: swallow.then(() => ({ status: 0, signal: null })),
      destroy: () => {
        pipe.abort(new TransportError('cut'));
        return Promise.resolve();
      },
    };
    return { transport, explainEnd: explainEndAfter() };
  }

  const send = (far: FarSide) => {
    const base = volumeOf(8, 1);
    const now = volumeOf(8, 1);
    now.bytes.fill('x', 2 * CHUNK, 2 * CHUNK + 512);
    const source = altered(changesOf(now, [[2]]), { volumes: { base } });
    const how = { proofs: true, blockSize: 512 };
    return runSender(far, source, how, quietSurroundings());
  };

  it.each([
    ['wants what was not sent', (frame: number) => [encodeWant(NEXT, 1), encodeDurable(frame, 2)]],
    ['wants more than was sent', () => [encodeWant(PIECE, 1), encodeWant(NEXT, 2)]],
    ['answers another checkpoint', (frame: number) => [encodeDurable(frame - 1, 1)]],
    ['wants past what a number holds', () => [encodeWant({ offset: 2 ** 60, length: 1 }, 1)]],
    ['wants nothing', () => [encodeWant({ offset: 0, length: 0 }, 1)]],
  ])('is refused where it %s', async (_name, says) => {
    await expect(send(farSide(says))).rejects.toThrow(FormatError);
  });

  it('does not count as wanting nothing before it said so', async () => {
    await expect(send(farSide(() => []))).rejects.toThrow(TransportError);
  });
});

describe('a sender that leaves out what was wanted whole', () => {
  const send = async (after: (writer: FrameWriter) => Promise<void>) => {
    const target = volumeOf(8, 1);
    const policy = { ...DEFAULT_POLICY, journal: false };
    const open = () => Promise.resolve(openInMemory(target, folder));
    const { far, outcome } = startLocalReceiver(open, policy, quietSurroundings());
    const replies = takeAll(far.transport.input);
    const writer = new FrameWriter(far.transport.output);
    await writer.start({ ...someHeader(VOLUME), unit: 512 });
    await writer.openSection({ ...PIECE, oldCrc: 1, newCrc: 2 });
    await writer.data(PIECE.offset, Buffer.alloc(512, 1));
    await writer.checkpoint(Buffer.alloc(0));
    await writer.nextPass();
    await after(writer);
    await writer.finish();
    await replies;
    return { outcome: await outcome, target };
  };

  it.each([
    ['all of it', () => Promise.resolve()],
    ['its end', (writer: FrameWriter) => writer.data(PIECE.offset, Buffer.alloc(CHUNK - 512, 2))],
    [
      'the rest of it, as a section again',
      async (writer: FrameWriter) => {
        const oldCrc = crc32(volumeOf(8, 1).bytes.subarray(PIECE.offset, PIECE.offset + CHUNK));
        await writer.openSection({ ...PIECE, oldCrc, newCrc: 2 });
        await writer.data(PIECE.offset, Buffer.alloc(512, 1));
      },
    ],
  ])('is told that it failed: %s', async (_name, after) => {
    const { outcome } = await send(after);
    expect(outcome.error).toBeInstanceOf(FormatError);
    expect(outcome.error?.message).toMatch(/asked for in full, but never sent/);
  });

  it('succeeds if everything came, in parts or not', async () => {
    const { outcome, target } = await send(async (writer) => {
      await writer.zero(PIECE.offset, 1024);
      await writer.data(PIECE.offset + 1024, Buffer.alloc(CHUNK - 1024, 2));
    });
    expect(outcome.error).toBe(null);
    expect(target.bytes.subarray(PIECE.offset, PIECE.offset + 1024)).toBeBytes(Buffer.alloc(1024));
  });
});
