import path from 'node:path';
import { findSystem, SYSTEM_NAMES } from '../guest/guest-system.js';
import { runGuest } from './kernel-suite.js';
import { prepareGuests } from './prepare-guests.js';
import { makePrivateFolder } from './private-folder.js';

// tsx test/support/suite/kernel-by-hand.ts [KERNEL/ROOT] [WORDS FOR VITEST…]: one guest, such as for one file at work
const [first = '', ...others] = process.argv.slice(2);
const named = SYSTEM_NAMES.find((name) => name === first);
const words = named === undefined ? [first, ...others].filter((word) => word !== '') : others;
const { systems, obstacles } = await prepareGuests(named === undefined ? ['newer/own', 'own/own'] : [named]);
const [system = findSystem('own/own')] = systems;
if (system === null) throw new Error(obstacles.join('\n'));
const report = path.join(makePrivateFolder(), 'kernel');
const { result, died } = await runGuest(system, words, report, '');
for (const name of result.tally.failures) console.log(`FAILED ${name}`);
process.exitCode = result.tally.failed === 0 && died === null ? 0 : 1;
