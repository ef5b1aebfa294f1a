import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readThinDelta, type ThinRangeKind } from '../../src/changes/thin-delta.js';
import { FormatError } from '../../src/errors.js';

// Printed by thin_delta 0.9.0 and 1.1.0 (Debian 12 and 13) for the same metadata: the latter ends without a line end.
const PRINTED = `<superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="2000">
  <diff left="2" right="1">
    <same begin="0" length="16"/>
    <left_only begin="16" length="32"/>
    <same begin="48" length="15"/>
    <left_only begin="63" length="7"/>
    <different begin="70" length="1"/>
    <left_only begin="71" length="57"/>
    <right_only begin="200" length="3"/>
  </diff>
</superblock>`;
const EMPTY = `<superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="2000">
  <diff left="3" right="3">
  </diff>
</superblock>`;
// Of a pool in use, by its metadata snapshot: 0.9.0 and 1.1.0 say that it has no data blocks.
const LIVE = `<superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="0">
  <diff left="1" right="2">
    <same begin="0" length="4"/>
    <different begin="4" length="5"/>
    <same begin="9" length="11"/>
  </diff>
</superblock>`;
const VERBOSE = `<superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="2000">
  <diff left="2" right="1">
    <same>
      <range begin="0" data_begin="0" length="16"/>
    </same>
  </diff>
</superblock>`;
const RANGES = [
  ['same', 0, 16],
  ['left_only', 16, 32],
  ['same', 48, 15],
  ['left_only', 63, 7],
  ['different', 70, 1],
  ['left_only', 71, 57],
  ['right_only', 200, 3],
];

const TWO_AND_ONE = { left: 2, right: 1, chunkSize: 65_536 };

async function read(text: string, expected = TWO_AND_ONE, pieceLength = 64 * 1024) {
  const bytes = Buffer.from(text);
  const ranges: [ThinRangeKind, number, number][] = [];
  await readThinDelta(cut(bytes, pieceLength), expected, 'thin_delta', (...range) => ranges.push(range));
  return ranges;
}

async function* cut(bytes: Buffer, pieceLength: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceLength) {
    yield await Promise.resolve(bytes.subarray(at, at + pieceLength));
  }
}

describe('what thin_delta prints', () => {
  it.each([
    ['0.9', `${PRINTED}\n`],
    ['1.1', PRINTED],
  ])('is read, of version %s', async (_, text) => {
    expect(await read(text)).toEqual(RANGES);
    for (const pieceLength of [1, 7, 64]) expect(await read(text, TWO_AND_ONE, pieceLength)).toEqual(RANGES);
  });

  it('may list nothing', async () => {
    expect(await read(EMPTY, { ...TWO_AND_ONE, left: 3, right: 3 })).toEqual([]);
  });

  it.each([
    ['0.9', `${LIVE}\n`],
    ['1.1', LIVE],
  ])('is read of a pool in use, of version %s', async (_, text) => {
    expect(await read(text, { ...TWO_AND_ONE, left: 1, right: 2 })).toEqual([
      ['same', 0, 4],
      ['different', 4, 5],
      ['same', 9, 11],
    ]);
  });

  it('is refused when cut anywhere', async () => {
    for (let length = 0; length < PRINTED.length; length++) {
      await expect(read(PRINTED.slice(0, length))).rejects.toThrow(FormatError);
    }
    await expect(read(PRINTED.slice(0, PRINTED.indexOf('<different')))).rejects.toThrow(
      /thin_delta output at byte \d+: it is cut short/,
    );
  });

  it.each([
    ['with an element that is not known', PRINTED.replace('right_only', 'moved'), /"<moved begin="200"/],
    ['with a range of nothing', PRINTED.replace('length="1"', 'length="0"'), /a range of 0 chunks at 70/],
    ['with ranges that overlap', PRINTED.replace('begin="70"', 'begin="69"'), /1 chunk at 69 after 70/],
    ['with a number that is none', PRINTED.replace('"57"', '"-57"'), /instead of ranges/],
    ['past what can be addressed', PRINTED.replace('"200"', '"999999999999999"'), /past 2\^53/],
    ['with more behind its end', `${PRINTED}\n${PRINTED}`, /instead of end of file/],
    ['of other devices', PRINTED.replace('left="2"', 'left="4"'), /devices 4 and 1 instead/],
    [
      'of another pool',
      PRINTED.replace('"128"', '"256"'),
      /chunks of 131072 bytes, but the pool has chunks of 65536/,
    ],
    ['with two diffs', PRINTED.replace('</superblock>', '<diff left="2" right="1">'), /end of superblock/],
    ['with --verbose', VERBOSE, /"<same>"/],
    ['without a line end in sight', `${PRINTED}${' '.repeat(5000)}`, /a line is longer than 4096/],
    ['as words', 'no current metadata snap\n', /"no current metadata snap" instead of superblock/],
  ])('is refused %s', async (_, text, message) => {
    const reading = read(text);
    await expect(reading).rejects.toThrow(FormatError);
    await expect(reading).rejects.toThrow(message);
  });

  it('is read or refused as a whole, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(PRINTED.length - 1),
        fc.constantFrom('<', '>', '/', '"', '=', ' ', 'x', '0', '\n'),
        async (at, character) => {
          const ranges = await read(PRINTED.slice(0, at) + character + PRINTED.slice(at + 1)).catch(
            (error: unknown) => {
              expect(error).toBeInstanceOf(FormatError);
              return null;
            },
          );
          if (ranges !== null) expect(ranges.length).toBe(RANGES.length);
        },
      ),
    );
  });
});
