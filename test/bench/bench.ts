import { benchCombine } from './combine.js';
import { benchCompression } from './compression.js';
import { benchDelta } from './delta.js';
import { benchHugeStore } from './huge-store.js';
import { benchJournal } from './journal.js';
import { benchLocalSync } from './local-sync.js';
import { benchParse } from './parse.js';
import { Bars, describeMachine } from './report.js';
import { benchRestore } from './restore.js';
import { benchRollback } from './rollback.js';
import { benchScan } from './scan.js';
import { benchSmallSync } from './ssh-small.js';
import { benchSshSync } from './ssh-sync.js';
import { benchThin } from './thin.js';
import { benchVerify } from './verify.js';
import { cleanUpAtExit } from './workplace.js';

const PARTS = {
  parse: benchParse,
  huge: benchHugeStore,
  thin: benchThin,
  local: benchLocalSync,
  delta: benchDelta,
  journal: benchJournal,
  ssh: benchSshSync,
  small: benchSmallSync,
  compression: benchCompression,
  verify: benchVerify,
  scan: benchScan,
  combine: benchCombine,
  restore: benchRestore,
  rollback: benchRollback,
};

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !(name in PARTS));
if (unknown !== undefined) {
  console.error(`bench: ${unknown} is none of ${Object.keys(PARTS).join(', ')}`);
  process.exit(2);
}
cleanUpAtExit();
console.log(`${describeMachine()}\nmedians (least to most)`);
const bars = new Bars();
for (const [name, bench] of Object.entries(PARTS)) {
  if (wanted.length === 0 || wanted.includes(name)) await bench(bars);
}
for (const miss of bars.missed) console.error(`\nBAR MISSED: ${miss}`);
process.exitCode = bars.missed.length === 0 ? 0 : 1;
