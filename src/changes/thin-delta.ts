import { countOf } from '../bytes/amounts.js';
import { SECTOR } from '../bytes/extent.js';
import { FormatError } from '../errors.js';

/**
 * The kind of a range of chunks: mapped to the same data in both devices, to different data, only in the first, or
 * only in the second. Chunks that neither device maps are not listed.
 */
export type ThinRangeKind = 'same' | 'different' | 'left_only' | 'right_only';

/** Receives a range of the delta, in chunks. Ranges ascend and never overlap. */
export type TakeThinRange = (kind: ThinRangeKind, begin: number, length: number) => void;

/** What the delta must be about. */
export interface ExpectedDelta {
  readonly left: number;
  readonly right: number;
  /** The pool's chunk, in bytes. */
  readonly chunkSize: number;
}

/** No valid line is nearly as long: output without line ends is something else. Characters. */
const LONGEST_LINE = 4096;
const RANGE = /^<(same|different|left_only|right_only) begin="(\d{1,15})" length="(\d{1,15})"\/>$/;
const SUPERBLOCK = /^<superblock [^<>]*\bdata_block_size="(\d{1,10})"[^<>]*>$/;
const DIFF = /^<diff left="(\d+)" right="(\d+)">$/;
/**
 * Parses the output of `thin_delta` from the thin-provisioning-tools, 0.9 and 1.1 alike: one element a line,
 * `superblock` around `diff` around the ranges. Samples of both are in test/changes.
 *
 * Throws FormatError for anything else, also for output that is cut short: never returns a short list.
 */
export async function readThinDelta(
  output: AsyncIterable<Uint8Array>,
  expected: ExpectedDelta,
  what: string,
  take: TakeThinRange,
): Promise<void> {
  const parser = new DeltaParser(expected, what, take);
  const decoder = new TextDecoder('latin1');
  let rest = '';
  for await (const piece of output) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) parser.takeLine(line);
    if (rest.length > LONGEST_LINE) parser.fail(`a line is longer than ${LONGEST_LINE} characters`);
  }
  // 1.1 does not end its last line with a newline.
  if (rest !== '') parser.takeLine(rest);
  parser.finish();
}

/** What may come next. */
type Place = 'superblock' | 'diff' | 'ranges' | 'end of superblock' | 'end of file';

class DeltaParser {
  private place: Place = 'superblock';
  /** Where the current line begins, in bytes. */
  private offset = 0;
  /** Where the last range ended, in chunks. */
  private end = 0;

  constructor(
    private readonly expected: ExpectedDelta,
    private readonly what: string,
    private readonly take: TakeThinRange,
  ) {}

  takeLine(line: string): void {
    const text = line.trim();
    if (text !== '') this.takeElement(text);
    this.offset += line.length + 1;
  }

  finish(): void {
    if (this.place !== 'end of file') this.fail(`it is cut short: it ends before </superblock>`);
  }

  fail(problem: string): never {
    throw new FormatError(this.what, this.offset, 'thin_delta output', problem);
  }

  private takeElement(text: string): void {
    switch (this.place) {
      case 'superblock':
        this.checkChunkSize(SUPERBLOCK.exec(text) ?? this.refuse(text));
        this.place = 'diff';
        return;
      case 'diff':
        this.checkDevices(DIFF.exec(text) ?? this.refuse(text));
        this.place = 'ranges';
        return;
      case 'ranges':
        if (text === '</diff>') this.place = 'end of superblock';
        else this.takeRange(RANGE.exec(text) ?? this.refuse(text));
        return;
      case 'end of superblock':
        if (text !== '</superblock>') this.refuse(text);
        this.place = 'end of file';
        return;
      case 'end of file':
        this.refuse(text);
    }
  }

  private checkChunkSize([, sectors]: RegExpExecArray): void {
    const chunkSize = Number(sectors) * SECTOR;
    if (chunkSize === this.expected.chunkSize) return;
    this.fail(`chunks of ${chunkSize} bytes, but the pool has chunks of ${this.expected.chunkSize}`);
  }

  private checkDevices([, left, right]: RegExpExecArray): void {
    if (Number(left) === this.expected.left && Number(right) === this.expected.right) return;
    this.fail(`devices ${left ?? ''} and ${right ?? ''} instead of the requested ones`);
  }

  private takeRange([, kind, first, count]: RegExpExecArray): void {
    const begin = Number(first);
    const length = Number(count);
    if (length === 0 || begin < this.end)
      this.fail(`a range of ${countOf(length, 'chunk')} at ${begin} after ${this.end}`);
    this.end = begin + length;
    if (this.end * this.expected.chunkSize > Number.MAX_SAFE_INTEGER) this.fail('a range past 2^53 bytes');
    this.take(kind as ThinRangeKind, begin, length);
  }

  private refuse(text: string): never {
    this.fail(`"${text.slice(0, 60)}" instead of ${this.place}`);
  }
}

/** What thin_delta printed when it failed, as far as it shows what to do. */
export interface ThinDeltaFailure {
  /** Its own message, in one line of limited length. */
  readonly said: string;
  /** Which of the two devices is missing from the metadata. */
  readonly missing: 'left' | 'right' | null;
  /** Whether the metadata is damaged. */
  readonly isDamage: boolean;
}

/** 1.1 prints all numbers of a superblock. Characters. */
const MOST_WORDS = 200;
const MISSING = /Unable to find mapping tree for snap([12]) /;
const DAMAGE =
  /bad checksum|checksum error|damage in mapping tree|inconsistent device ids|block out of bounds/;

/**
 * Reads what thin_delta printed on stderr when it failed. 0.9 exits with status 1, and prints its usage after the
 * message; 1.1 exits with status 64, or 2 if it does not know an argument. Samples of both are in test/changes.
 */
export function readThinDeltaFailure(stderr: string): ThinDeltaFailure {
  const lines = stderr.split('\n').map((line) => line.trim());
  const usage = lines.findIndex((line) => line.startsWith('Usage:'));
  const words = (usage === -1 ? lines : lines.slice(0, usage)).filter((line) => line !== '').join('; ');
  const snap = MISSING.exec(words)?.[1];
  return {
    said: words.length > MOST_WORDS ? `${words.slice(0, MOST_WORDS)}…` : words,
    missing: snap === undefined ? null : snap === '1' ? 'left' : 'right',
    isDamage: DAMAGE.test(words),
  };
}
