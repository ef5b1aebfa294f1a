#!/usr/bin/env node
/*
 * Stands in for the Ruby lvmsync as a far side: `lvmsync --apply - [--snapback FILE] DEVICE`. Written from the
 * format's description alone and sharing nothing with src/, so that the two prove each other.
 *
 *   "lvmsync PROTO[3]\n", then until the end: u64be offset, u32be length, the bytes
 */
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';

const words = process.argv.slice(2);
if (words[0] !== '--apply' || words[1] !== '-') stop(`unexpected words: ${words.join(' ')}`);
const device = words.at(-1);
if (words.length !== 3 && !(words.length === 5 && words[2] === '--snapback')) stop('cannot parse the words');

const target = openSync(device, 'r+');
const stream = readFileSync(0);
const line = 'lvmsync PROTO[3]\n';
if (stream.subarray(0, line.length).toString('latin1') !== line) stop('unknown protocol');
let records = 0;
for (let at = line.length; at < stream.length; records += 1) {
  const offset = Number(stream.readBigUInt64BE(at));
  const length = stream.readUInt32BE(at + 8);
  const bytes = stream.subarray(at + 12, at + 12 + length);
  if (bytes.length !== length) stop(`record ${records} is cut short`);
  if (writeSync(target, bytes, 0, length, offset) !== length) stop(`short write at ${offset}`);
  at += 12 + length;
}
fsyncSync(target);
closeSync(target);
process.stderr.write(`${records} records applied\n`);

function stop(reason) {
  process.stderr.write(`stand-in: ${reason}\n`);
  process.exit(7);
}
