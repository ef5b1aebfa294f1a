import { expect, it } from 'vitest';
import { runWords } from '../support/run-program.js';

it.each([
  '2026-02-30',
  '2026-04-31T10:00',
  '2026-02-29 10:00:00Z',
  '2026-13-01',
  '2026-01-02T25:00',
  '0000-00-00',
])('refuses %s as a time, rather than take another one for it', async (goal) => {
  const { status, said } = await runWords(['restore', '/dev/vg/vm', '--to', goal, '--from', '/undo']);
  expect([status, said.join()]).toEqual([2, expect.stringContaining(`--to ${goal}: there is no such time`)]);
});

it.each(['2024-02-29', '2026-01-31T23:59', '2026-01-01T00:00:00-11:00', '2026-12-31 24:00'])(
  'takes %s for the time that it is',
  async (goal) => {
    const { status, said } = await runWords(['restore', '/dev/vg/vm', '--to', goal, '--from', '/nowhere']);
    // the folder is what it stops at
    expect([status, said.join()]).toEqual([8, expect.stringContaining('/nowhere')]);
  },
);
