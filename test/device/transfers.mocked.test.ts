import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { Transfers, type Transfer } from '../../src/device/transfers.js';

let folder: string;
let fd: number;
/** What the clock shows: it goes on by `callMs` with every look. */
let now = 1e6;
let callMs = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvmsync-transfers-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

beforeEach(async () => {
  writeFileSync(join(folder, 'file'), 'abcdefgh');
  fd = openSync(join(folder, 'file'), 'r+');
  vi.spyOn(performance, 'now').mockImplementation(() => (now += callMs));
  // A call that is not quick shows when the event loop last had its turn.
  callMs = 1;
  const transfers = new Transfers(false);
  void transfers.run(reading());
  await transfers.run(reading());
  callMs = 0;
});
afterEach(() => {
  vi.restoreAllMocks();
  closeSync(fd);
});

function reading(position = 0, length = 4): Transfer & { readonly bytes: Buffer } {
  const bytes = Buffer.alloc(length);
  return { kind: 'read', fd, pieces: [bytes], length, position, bytes };
}

function writing(...pieces: string[]): Transfer {
  const bytes = pieces.map((each) => Buffer.from(each));
  return { kind: 'write', fd, pieces: bytes, length: pieces.join('').length, position: 2 };
}

/** Whether the call went to a thread. */
const isPooled = (outcome: number | Promise<number>) => typeof outcome !== 'number';

describe('reads and writes of an open file', () => {
  it('are made at once while they are quick', () => {
    const transfers = new Transfers(false);
    const read = reading(4);
    expect(transfers.run(read)).toBe(4);
    expect(read.bytes.toString()).toBe('efgh');
    expect(transfers.run(reading(6))).toBe(2);
    expect(transfers.run(reading(8))).toBe(0);
    expect(transfers.run(writing('XY'))).toBe(2);
    expect(transfers.run(writing('1', '23'))).toBe(3);
    expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('ab123fgh');
  });

  it('go to threads after one that took long, and try again later, each time after twice as many', async () => {
    const transfers = new Transfers(false);
    for (const patience of [32, 64, 128]) {
      callMs = 1;
      expect(isPooled(transfers.run(reading()))).toBe(false);
      callMs = 0;
      const outcomes = Array.from({ length: patience }, () => transfers.run(reading(4)));
      expect(outcomes.every(isPooled)).toBe(true);
      expect(new Set(await Promise.all(outcomes.map((each) => Promise.resolve(each))))).toEqual(new Set([4]));
    }
    expect(isPooled(transfers.run(reading()))).toBe(false);
    expect(isPooled(transfers.run(reading()))).toBe(false);
  });

  it('may take longer for more bytes', () => {
    const transfers = new Transfers(false);
    callMs = 0.5;
    expect(isPooled(transfers.run({ ...reading(), pieces: [Buffer.alloc(2 ** 20)], length: 2 ** 20 }))).toBe(
      false,
    );
    callMs = 0;
    expect(isPooled(transfers.run(reading()))).toBe(false);
  });

  it('always go to threads where they may hang: those of a block device', async () => {
    const transfers = new Transfers(true);
    const outcomes = Array.from({ length: 3000 }, () => transfers.run(reading(4)));
    expect(outcomes.every(isPooled)).toBe(true);
    expect(new Set(await Promise.all(outcomes.map((each) => Promise.resolve(each))))).toEqual(new Set([4]));
  });

  it('let signals and timers have their turn now and then', async () => {
    const transfers = new Transfers(false);
    expect(isPooled(transfers.run(reading()))).toBe(false);
    now += 21;
    const turn = transfers.run(reading(4));
    expect(isPooled(turn)).toBe(true);
    expect(await turn).toBe(4);
    expect(isPooled(transfers.run(reading()))).toBe(false);
  });

  it('write in threads what they write here', async () => {
    const transfers = new Transfers(false);
    now += 21;
    await expect(transfers.run(writing('XY'))).resolves.toBe(2);
    now += 21;
    await expect(transfers.run(writing('1', '23'))).resolves.toBe(3);
    expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('ab123fgh');
  });

  it('fail with the same error both ways', async () => {
    const transfers = new Transfers(false);
    const closed = { ...reading(), fd: 1_000_000 };
    const error = { code: 'EBADF', syscall: 'read' };
    expect(() => transfers.run(closed)).toThrow(expect.objectContaining(error) as Error);
    now += 21;
    await expect(transfers.run(closed)).rejects.toMatchObject(error);
  });
});
