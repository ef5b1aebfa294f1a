import path from 'node:path';
import { bootGuest } from './boot-guest.js';
import { findSystem } from './guest-system.js';

/**
 * Tries something on a real kernel: `tsx test/support/guest/run-by-hand.ts SCRIPT [DISK…]`, where SCRIPT is
 * run by bash as root inside, and DISK is a size (`1G`, a fresh disk) or the path of an image file.
 */
const [script, ...disks] = process.argv.slice(2);
if (script === undefined) {
  process.stderr.write('usage: tsx test/support/guest/run-by-hand.ts SCRIPT [DISK…]\n');
  process.exit(2);
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));
const { GUEST_SYSTEM: name, GUEST_TIMEOUT: seconds = '600' } = process.env;
const system = name === undefined ? {} : findSystem(name);
if (system === null) {
  const advice = 'tsx test/support/suite/kernel-by-hand.ts with its name and that of a test gets it';
  process.stderr.write(`${name ?? ''}: not on this machine yet: ${advice}\n`);
  process.exit(2);
}
const result = await bootGuest({
  ...system,
  command: ['bash', path.resolve(script)],
  disks,
  timeoutSeconds: Number(seconds),
  onOutput: (stream, piece) => process[stream].write(piece),
});
if (result.ended !== 'finished') {
  process.stderr.write(`the guest ${result.ended}; its console said:\n${result.console}`);
}
process.exitCode = result.status ?? 125;
