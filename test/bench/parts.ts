import { benchApply4, benchApply64 } from './apply.js';
import type { Part } from './bench-run.js';
import { benchCombine } from './combine.js';
import { benchCompression } from './compression.js';
import { benchDelta } from './delta.js';
import { benchHugeStore } from './huge-store.js';
import { benchLocalSync } from './local-sync.js';
import { benchParse } from './parse.js';
import { benchRestore } from './restore.js';
import { benchRollback } from './rollback.js';
import { benchSmallSync } from './small-sync.js';
import { benchRoundTrip, benchSshSync } from './ssh-sync.js';
import { benchThin } from './thin.js';
import { benchScan, benchVerify } from './verify.js';

/** What the bench measures, in this order, by the names on the command line. */
export const PARTS: ReadonlyMap<string, { readonly run: Part; readonly hasQuick: boolean }> = new Map([
  ['apply-64k', { run: benchApply64, hasQuick: true }],
  ['apply-4k', { run: benchApply4, hasQuick: true }],
  ['local', { run: benchLocalSync, hasQuick: true }],
  ['ssh', { run: benchSshSync, hasQuick: true }],
  ['small', { run: benchSmallSync, hasQuick: true }],
  ['verify', { run: benchVerify, hasQuick: true }],
  ['round-trip', { run: benchRoundTrip, hasQuick: false }],
  ['scan', { run: benchScan, hasQuick: false }],
  ['parse', { run: benchParse, hasQuick: false }],
  ['huge', { run: benchHugeStore, hasQuick: false }],
  ['thin', { run: benchThin, hasQuick: false }],
  ['delta', { run: benchDelta, hasQuick: false }],
  ['compression', { run: benchCompression, hasQuick: false }],
  ['combine', { run: benchCombine, hasQuick: false }],
  ['restore', { run: benchRestore, hasQuick: false }],
  ['rollback', { run: benchRollback, hasQuick: false }],
]);
