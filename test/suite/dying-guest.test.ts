import { describe, expect, it } from 'vitest';
import type { GuestSystem, SystemName } from '../support/guest/guest-system.js';
import { runKernelItems, type RunGuest } from '../support/suite/kernel-suite.js';
import type { FileEnded } from '../support/suite/report-lines.js';
import { tallyFile, addTallies } from '../support/suite/tally.js';

function system(name: SystemName): GuestSystem {
  const [kernel, root] = name.split('/') as ['own', 'own'];
  const program = { version: kernel, program: '', modules: '', words: [], preload: null };
  return { name, kernel: { name: kernel, ...program }, root: { name: root, path: '/' } };
}

function passed(file: string): FileEnded {
  return { ended: file, seconds: 1, failed: false, tests: [{ name: 'works', status: 'passed' }] };
}

/** Guests that die of each of these files, on a kernel of this name. */
function guestsThatDieOf(killers: Readonly<Record<string, readonly string[]>>): {
  boot: RunGuest;
  booted: string[];
} {
  const booted: string[] = [];
  const boot: RunGuest = (on, words) => {
    booted.push(`${on.name}: ${words.join(' ')}`);
    const at = words.findIndex((file) => killers[on.kernel.name]?.includes(file) === true);
    const ended = (at < 0 ? words : words.slice(0, at)).map(passed);
    const tally = addTallies(ended.map((file) => tallyFile(on.name, file)));
    return Promise.resolve({
      result: { system: on, ended, tally },
      died: at < 0 ? null : words.slice(at, at + 1),
    });
  };
  return { boot, booted };
}

async function run(boot: RunGuest) {
  const on = system('newer/own');
  const items = ['a', 'b', 'c'].map((file) => ({ system: on, file: `test/${file}.test.ts` }));
  const results = await runKernelItems(items, '/nowhere', { run: boot, find: system });
  return results.map(({ tally }) => tally);
}

it('a file that vitest does not find is a failure', async () => {
  const { boot } = guestsThatDieOf({});
  const [tally] = await run((on, words, report, prefix) =>
    boot(
      on,
      words.filter((file) => file !== 'test/b.test.ts'),
      report,
      prefix,
    ),
  );
  expect(tally).toMatchObject({ passed: 2, failures: ['newer/own: did not run: test/b.test.ts'] });
});

describe('a guest that dies', () => {
  it('of a file is started again for the files it had left, and the file has a second chance on the own kernel', async () => {
    const { boot, booted } = guestsThatDieOf({ newer: ['test/b.test.ts'] });
    expect(await run(boot)).toEqual([{ passed: 3, failed: 0, skipped: 0, failures: [] }]);
    expect(booted.filter((line) => line.startsWith('own/own'))).toEqual(['own/own: test/b.test.ts']);
  });

  it('of a file on either kernel makes that file a failure, which is named, and no other', async () => {
    const { boot } = guestsThatDieOf({ newer: ['test/b.test.ts'], own: ['test/b.test.ts'] });
    const failures = ['test/b.test.ts: Linux newer died while it ran'];
    expect(await run(boot)).toEqual([{ passed: 2, failed: 1, skipped: 0, failures }]);
  });

  it('within a tenth of a second, before it told of the file, has a second chance with the last file', async () => {
    const { boot } = guestsThatDieOf({ newer: ['test/b.test.ts'] });
    const silent: RunGuest = async (...words) => {
      const { result, died } = await boot(...words);
      return { result, died: died === null ? null : [] };
    };
    const [tally] = await run(silent);
    expect(tally?.failed).toBe(0);
  });

  it('after its last file is a failure: what vitest said is not known', async () => {
    const { boot } = guestsThatDieOf({});
    const lateDeath: RunGuest = async (...words) => ({ ...(await boot(...words)), died: [] });
    const [tally] = await run(lateDeath);
    expect(tally?.failures).toContain('newer/own: the guest died at its end');
  });

  it('before its first file is a failure, and is not started for ever', async () => {
    const boot: RunGuest = (on) =>
      Promise.resolve({
        result: { system: on, ended: [], tally: addTallies([]) },
        died: [],
      });
    const [tally] = await run(boot);
    expect(tally?.passed).toBe(0);
    expect(tally?.failures.join()).toMatch(/the guest died before .*test\/a\.test\.ts/);
  });
});
