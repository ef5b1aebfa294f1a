import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Extent } from '../../src/bytes/extent.js';
import { readJournal } from '../../src/journal/journal-reader.js';
import { DURABLE, parseDurable, parseWant, WANT } from '../../src/session/messages.js';
import { readReplies } from '../../src/session/replies.js';
import { ReplyWriter } from '../../src/session/reply-writer.js';
import { wholeVector } from '../stream/vectors/load-vectors.js';
import { Collector, feed } from '../support/scenes/feed.js';

const golden = Buffer.concat(
  readFileSync(new URL('../stream/vectors/replies.jsonl', import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => Buffer.from((JSON.parse(line) as { hex: string }).hex, 'hex')),
);
const HELLO = { version: '4.0.0', targetSize: 65636, holds: null, resume: 'AHBsYWNlIDE=', heartbeat: 5 };

it.each([1, 7, 100_000])('the golden replies are read, in pieces of %d bytes', async (length) => {
  const durable: number[] = [];
  const wanted: Extent[] = [];
  const replies = readReplies(feed(golden, length), 'far', ({ header, payload, position }) => {
    if (header.type === WANT) wanted.push(parseWant(payload, 'far', position));
    if (header.type !== DURABLE) return header.type === WANT;
    durable.push(parseDurable(payload, 'far', position));
    return true;
  });
  expect(await replies.waitForHello(1000)).toMatchObject(HELLO);
  expect(await replies.result).toEqual({ ok: true, blocks: 3, mismatches: 1, suspect: null });
  expect(durable).toEqual([7, 19]);
  expect(wanted).toEqual([{ offset: 4096, length: 8192 }]);
});

it('our receiver writes the golden replies byte for byte', async () => {
  const sink = new Collector();
  const replies = new ReplyWriter(sink);
  await replies.alive();
  await replies.hello(HELLO);
  await replies.durable(7);
  await replies.want({ offset: 4096, length: 8192 });
  await replies.alive();
  await replies.durable(19);
  await replies.result({ ok: true, blocks: 3, mismatches: 1 });
  await replies.alive();
  expect(sink.bytes).toBeBytes(golden);
});

it('a golden journal shows where it can be continued', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lvmsync-golden-'));
  try {
    const file = join(folder, 'journal');
    const { bytes } = wholeVector('journal-resume-point');
    writeFileSync(file, bytes);
    const { resumePlace } = await readJournal(file, bytes.length);
    expect(resumePlace).toMatchObject({
      point: { token: Buffer.from('\0place 1'), changedBytes: 512, mismatches: 0 },
      savedCount: 1,
      writeCount: 1,
      written: { totals: { frames: 4, dataBytes: 512 }, pass: 1, cursor: 512 },
    });
    // The chain in the end frame that follows is over all up to there.
    expect(bytes.includes(resumePlace?.written.chain ?? 'none')).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
