import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { LineError } from '../../src/errors.js';
import { lockFolder } from '../../src/host/run-lock.js';
import { keepBeating, LineSilence, silenceAllowed } from '../../src/session/line-silence.js';
import { runReceiver } from '../../src/session/receiver.js';
import { FrameWriter } from '../../src/stream/frame-writer.js';
import { DEFAULT_POLICY } from '../../src/targets/apply-policy.js';
import { createLocalPipe } from '../../src/transport/local-pipe.js';
import { MemoryDevice } from '../support/memory-device.js';
import { openInMemory } from '../support/open-target.js';
import { someHeader } from '../support/scenes/feed.js';
import { quietSurroundings } from '../support/surroundings.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-silence-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe('a line on which nothing comes', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function listen() {
    const pipe = createLocalPipe();
    const silence = new LineSilence();
    const heard: string[] = [];
    const ending = (async () => {
      for await (const piece of silence.listen(pipe.source)) heard.push(Buffer.from(piece).toString());
    })().catch((error: unknown) => error);
    return { pipe, silence, heard, ending };
  }

  it('counts as dead after a while', async () => {
    const { silence, ending } = listen();
    silence.allow(30_000, 'far: no sign of life for 30 s');
    await vi.advanceTimersByTimeAsync(32_000);
    expect(await ending).toEqual(new LineError('far: no sign of life for 30 s'));
  });

  it('counts as alive as long as anything comes', async () => {
    const { pipe, silence, heard, ending } = listen();
    silence.allow(30_000, 'dead');
    for (let i = 0; i < 5; i++) {
      await vi.advanceTimersByTimeAsync(29_000);
      void pipe.sink.write(Buffer.from(`${i}`));
    }
    await vi.advanceTimersByTimeAsync(1000);
    expect(heard).toEqual(['0', '1', '2', '3', '4']);
    await vi.advanceTimersByTimeAsync(40_000);
    expect(await ending).toBeInstanceOf(LineError);
  });

  it('may be silent forever if nothing was promised', async () => {
    const { pipe, silence, ending } = listen();
    silence.allow(1000, 'dead');
    silence.allow(null, '');
    await vi.advanceTimersByTimeAsync(1_000_000);
    await pipe.sink.end();
    expect(await ending).toBeUndefined();
  });

  it('is not blamed while no one listens', async () => {
    const { pipe, silence } = listen();
    silence.allow(1000, 'dead');
    const pieces = silence.listen(pipe.source)[Symbol.asyncIterator]();
    void pipe.sink.write(Buffer.from('a'));
    await pieces.next();
    // Whoever took it is busy writing to a slow disk.
    await vi.advanceTimersByTimeAsync(1_000_000);
    void pipe.sink.write(Buffer.from('b'));
    expect((await pieces.next()).done).toBe(false);
  });
});

it('keepalives continue until they are stopped, even if one fails', () => {
  vi.useFakeTimers();
  let beats = 0;
  const stop = keepBeating(5, () => {
    beats += 1;
    return Promise.reject(new Error('no line'));
  });
  vi.advanceTimersByTime(21_000);
  stop();
  vi.advanceTimersByTime(21_000);
  vi.useRealTimers();
  expect(beats).toBe(4);
});

/** A receiver on a target whose lock lies in `folder`, and the sender's end of its line, which has sent a header. */
function receiverOf(run: string, heartbeat: number) {
  const frames = createLocalPipe();
  const env = quietSurroundings();
  const device = new MemoryDevice(64 * 1024, '/dev/t');
  const nobody = { write: () => Promise.resolve(), end: () => Promise.resolve() };
  const open = async (named: string | null) => {
    const holder = { what: 'apply to /dev/t', pid: process.pid, startedAt: new Date(), run: named };
    const lock = await lockFolder(folder, 'the target', holder);
    return { ...openInMemory(device, folder, folder), close: () => lock.release() };
  };
  const line = { input: frames.source, output: nobody };
  const outcome = runReceiver(line, open, DEFAULT_POLICY, env);
  const writer = new FrameWriter(frames.sink);
  // A receiver that refuses never reads on.
  writer.start({ ...someHeader(64 * 1024), run, heartbeat }).catch(() => undefined);
  return { outcome, writer, env };
}

const holderOf = () => {
  const lock = join(folder, 'lock');
  return existsSync(lock) ? readFileSync(lock, 'utf8') : '';
};

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !what(); i++) await new Promise((go) => setTimeout(go, 25));
  expect(what()).toBe(true);
}

describe('a receiver whose line is dead', () => {
  it('gives way to another of the same run, which then holds the target', async () => {
    const first = receiverOf('run-1', 3600);
    await until(() => holderOf().includes('run-1'));
    const startedFirst = holderOf();
    const second = receiverOf('run-1', 3600);
    const ended = await first.outcome;
    expect(ended.error).toBeInstanceOf(LineError);
    expect(ended.told).toBe(false);
    await until(() => holderOf() !== '' && holderOf() !== startedFirst);
    expect(existsSync(join(folder, 'successor'))).toBe(false);
    await second.writer.finish();
    expect((await second.outcome).error).toBeNull();
  });

  it('gives way to no other receiver', async () => {
    const first = receiverOf('run-1', 3600);
    await until(() => holderOf().includes('run-1'));
    writeFileSync(join(folder, 'successor'), 'run-2');
    const second = receiverOf('run-2', 3600);
    expect((await second.outcome).error).toMatchObject({ code: 'LOCKED' });
    await first.writer.finish();
    expect((await first.outcome).error).toBeNull();
  });

  it('ends by itself when no keepalive comes', async () => {
    const silent = receiverOf('run-3', 1);
    const started = performance.now();
    const { error } = await silent.outcome;
    expect(error).toEqual(new LineError('the sender gave no sign of life for 6 s'));
    expect(performance.now() - started).toBeGreaterThan(silenceAllowed(1) - 100);
    expect(holderOf()).toBe('');
  }, 20_000);
});
