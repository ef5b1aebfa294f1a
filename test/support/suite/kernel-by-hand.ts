import path from 'node:path';
import { findSystem, SYSTEM_NAMES } from '../guest/guest-system.js';
import { kernelTestFiles, runGuest } from './kernel-suite.js';
import { prepareGuests } from './prepare-guests.js';
import { makePrivateFolder } from './private-folder.js';

// tsx test/support/suite/kernel-by-hand.ts [KERNEL/ROOT] [WORDS FOR VITEST…]: one guest, such as for one file at work
const given = process.argv.slice(2);
const named = SYSTEM_NAMES.find((name) => name === given[0]);
const words = named === undefined ? given : given.slice(1);
const isNothing = (word: string): boolean =>
  !word.startsWith('-') && !kernelTestFiles().some((file) => file.includes(word));
// what follows an option may be its value
const nothing = words.find((word, index) => isNothing(word) && words[index - 1]?.startsWith('-') !== true);
if (nothing !== undefined) {
  process.stderr.write(
    `${nothing} is part of no name in test/kernel, nor one of ${SYSTEM_NAMES.join(', ')}\n`,
  );
  process.exit(2);
}
const { systems, obstacles } = await prepareGuests(named === undefined ? ['newer/own', 'own/own'] : [named]);
const [system = findSystem('own/own')] = systems;
if (system === null) {
  process.stderr.write(`no guest can be booted here: ${obstacles.join('; ')}\n`);
  process.exit(1);
}
const report = path.join(makePrivateFolder(), 'kernel');
const { result, died } = await runGuest(system, words, report, '');
for (const name of result.tally.failures) console.log(`FAILED ${name}`);
process.exitCode = result.tally.failed === 0 && died === null ? 0 : 1;
