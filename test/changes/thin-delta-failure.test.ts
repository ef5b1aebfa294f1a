import { describe, expect, it } from 'vitest';
import { readThinDeltaFailure } from '../../src/changes/thin-delta.js';

// Printed by thin_delta 0.9.0 (Debian 12, status 1) behind every reason.
const USAGE = `Usage: thin_delta [options] <device or file>
Options:
  {--thin1, --snap1}
  {--thin2, --snap2}
  {-m, --metadata-snap} [block#]
  {--verbose}
  {-h|--help}
  {-V|--version}
`;
// Printed by thin_delta 1.1.0 (Debian 13, status 2) behind a word that it does not know.
const USAGE_1_1 = "\n\nUsage: thin_delta [OPTIONS] <INPUT>\n\nFor more information, try '--help'.\n";
const SUPERBLOCK_1_1 = `Some(Superblock { flags: SuperblockFlags { needs_check: false }, block: 0, version: 2, time: 2, transaction_id: 3, metadata_snap: 0, data_sm_root: [208, 7, ${'0, '.repeat(126)}0] })`;

describe('a failure of thin_delta', () => {
  it.each([
    ['0.9.0', `Unable to find mapping tree for snap1 (9)\n${USAGE}`, 'left'],
    ['1.1.0', 'Unable to find mapping tree for snap1 (9)\n', 'left'],
    ['0.9.0', `Unable to find mapping tree for snap2 (9)\n${USAGE}`, 'right'],
    ['1.1.0', 'Unable to find mapping tree for snap2 (9)\n', 'right'],
  ])('of a device that is gone is recognised, as %s says it', (_, said, missing) => {
    expect(readThinDeltaFailure(said)).toEqual({ said: said.split('\n')[0], missing, isDamage: false });
  });

  it.each([
    ['0.9.0', `bad checksum in superblock, wanted 1607497397\n${USAGE}`],
    ['0.9.0', `bad checksum in metadata index block (block 1)\n${USAGE}`],
    ['0.9.0', `bad checksum in btree node (block 7)\n${USAGE}`],
    ['0.9.0', `damage in mapping tree, please run thin_check\n${USAGE}`],
    ['0.9.0', `block out of bounds (7 >= 3)\n\n${USAGE}`],
    ['1.1.0', 'bad checksum in superblock\n'],
    ['1.1.0', 'node error: checksum error BQENPA==, effecting keys [0..504]\n'],
  ])('of metadata that are damaged is recognised, as %s says it', (_, said) => {
    expect(readThinDeltaFailure(said)).toEqual({
      said: said.split('\n')[0],
      missing: null,
      isDamage: true,
    });
  });

  it('of damaged metadata is told without the superblock that 1.1.0 prints', () => {
    const { said, isDamage } = readThinDeltaFailure(`inconsistent device ids: ${SUPERBLOCK_1_1}\n`);
    expect(isDamage).toBe(true);
    expect(said).toMatch(/^inconsistent device ids: Some.{160,180}…$/);
  });

  it.each([
    ['0.9.0', `no current metadata snap\n${USAGE}`, 'no current metadata snap'],
    ['1.1.0', 'no current metadata snap\n', 'no current metadata snap'],
    [
      '0.9.0',
      `syscall 'open' failed: Device or resource busy\nNote: you cannot run this tool with these options on live metadata.\n${USAGE}`,
      "syscall 'open' failed: Device or resource busy; Note: you cannot run this tool with these options on live metadata.",
    ],
    ['1.1.0', 'Device or resource busy (os error 16)\n', 'Device or resource busy (os error 16)'],
    [
      '0.9.0',
      `couldn't open block device to ascertain size\n${USAGE}`,
      "couldn't open block device to ascertain size",
    ],
    [
      '1.1.0',
      "Couldn't get file size: Permission denied (os error 13)\n",
      "Couldn't get file size: Permission denied (os error 13)",
    ],
    ['0.9.0', `Couldn't stat path\n${USAGE}`, "Couldn't stat path"],
    ['1.1.0', "Couldn't find input file 'm.bin'\n", "Couldn't find input file 'm.bin'"],
    ['0.9.0', `thin_delta: unrecognized option '--bad'\n${USAGE}`, "thin_delta: unrecognized option '--bad'"],
    ['1.1.0', `error: unexpected argument '-3' found${USAGE_1_1}`, "error: unexpected argument '-3' found"],
    ['no version', '', ''],
  ])('of another kind is told in the words of %s, without its usage', (_, stderr, said) => {
    expect(readThinDeltaFailure(stderr)).toEqual({ said, missing: null, isDamage: false });
  });
});
