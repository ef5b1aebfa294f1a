import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { examine, expectFinding, PLACE, STATE } from './support/doctor-look.js';
import { createVolume, lvmsync, lvmsyncCommand, run, tryToRun } from './support/lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-left';
const MIB = 1 << 20;
/** A stream of the Ruby tool, of 1 MiB records, whose last one is cut short. */
const CUT_STREAM = Buffer.concat(
  Array.from({ length: 20 }, (_each, at) => {
    const head = Buffer.alloc(12);
    head.writeBigUInt64BE(BigInt(at * MIB));
    head.writeUInt32BE(MIB, 8);
    return Buffer.concat([
      at === 0 ? Buffer.from('lvmsync PROTO[3]\n') : Buffer.alloc(0),
      head,
      Buffer.alloc(MIB, 'x'),
    ]);
  }),
).subarray(0, -100);

const undo: (readonly [string, ...string[]])[] = [];
let target = '';
useVolumeGroup(GROUP);
beforeAll(async () => {
  target = await createVolume(GROUP, 'target', '24M');
  mkdirSync(STATE, { recursive: true, mode: 0o700 });
});
afterEach(async () => {
  for (const words of undo.splice(0).reverse()) await run(words);
});
afterAll(() => {
  rmSync(PLACE, { recursive: true });
});

describe('the doctor names a state directory', () => {
  it.each([
    ['in memory', ['-t', 'tmpfs', '-o', 'mode=700'], 'warning', /lies in memory/],
    [
      'that is too small',
      ['-t', 'tmpfs', '-o', 'size=12M'],
      'warning',
      /file system of 12 MiB, 12 MiB are free/,
    ],
    ['that is full', ['-t', 'tmpfs', '-o', 'size=12M'], 'problem', /2 MiB are free: no journal can be begun/],
    ['without inodes', ['-t', 'tmpfs', '-o', 'size=64M,nr_inodes=2'], 'problem', /no inode is/],
    ['that is read-only', ['-t', 'tmpfs', '-o', 'ro'], 'problem', /cannot be written \(EROFS/],
  ] as const)('%s', async (name, how, verdict, text) => {
    const home = `${PLACE}/home`;
    mkdirSync(home, { recursive: true });
    await run(['mount', ...how, 'none', home]);
    undo.push(['umount', home]);
    if (name === 'without inodes') writeFileSync(`${home}/last`, '');
    if (name === 'that is full') writeFileSync(`${home}/much`, Buffer.alloc(10 << 20));
    expectFinding(
      await examine({ target, stateHome: home }),
      'state directory',
      verdict,
      text,
      /--state-dir/,
    );
  });
});

it('the doctor names a journal that is left over, also in another state directory', async () => {
  const stateHome = path.dirname(STATE);
  const apply = lvmsyncCommand('--apply', '-', target);
  const cut = await tryToRun(apply, { input: CUT_STREAM, environment: { XDG_STATE_HOME: stateHome } });
  expect([cut.status, cut.stderr]).toEqual([5, expect.stringMatching(/recover/)]);
  const text =
    /^\/dev\/vg-left\/target is half-written: an apply to it was cut short \d+ minutes ago; its journal is/;
  const advice = /lvmsync recover \/dev\/vg-left\/target$/;
  expectFinding(await examine({ target }), 'left over', 'problem', text, advice);

  // As cron would have it, whose runs do not know of that one.
  const elsewhere = await examine({ target, stateHome: '/run/ill/elsewhere' });
  expect(elsewhere.filter((each) => each.check === 'left over')).toEqual([]);
  const home = { stateHome: '' };
  mkdirSync('/var/lib/lvmsync/targets', { recursive: true });
  undo.push(['rm', '-rf', '/var/lib/lvmsync/targets']);
  await run(['cp', '-a', `${STATE}/targets`, '/var/lib/lvmsync/']);
  const both = await examine({ target });
  const same =
    /^this run uses \/run\/ill\/state\/lvmsync; \/var\/lib\/lvmsync has records too, of the same targets, \/dev\/vg-left\/target/;
  expectFinding(both, 'other state directory', 'warning', same, /XDG_STATE_HOME/);
  expect(both.filter((each) => each.check === 'left over').map((each) => each.advice)).toEqual([
    expect.stringMatching(advice),
    expect.stringMatching(/lvmsync recover --state-dir \/var\/lib\/lvmsync \/dev\/vg-left\/target$/),
  ]);
  expect((await examine({ target, ...home })).filter((each) => each.check === 'left over')).toHaveLength(1);

  await run(lvmsyncCommand('recover', '--state-dir', STATE, target));
});

it('the doctor of a target gives up on a state directory on a disk that hangs, and ends', async () => {
  const home = `${PLACE}/hanging`;
  mkdirSync(home, { recursive: true });
  const disk = await createVolume(GROUP, 'hanging', '32M');
  await run(['mkfs.ext4', '-q', '-F', disk]);
  const mount = ['mount', disk, home] as const;
  await run(mount);
  undo.push(['umount', home]);
  await run(['truncate', '-s', '1M', `${PLACE}/source`, `${PLACE}/image`]);
  const words = ['--state-dir', `${home}/state`] as const;
  expect((await lvmsync(['copy', `${PLACE}/source`, `${PLACE}/image`, ...words])).status).toBe(0);
  // Nothing is in the cache of a file system that was just mounted. What waits for a file's bytes can be killed, as on
  // NFS; what waits for a folder's on a disk cannot.
  await run(['umount', home]);
  await run(mount);
  await run(['ls', '-lR', home]);
  await run(['dmsetup', 'suspend', '--nolockfs', '--noflush', disk]);
  const looking = lvmsync(['doctor', `${PLACE}/image`, ...words]);
  const limit = setTimeout(() => void run(['dmsetup', 'resume', disk]), 60_000);
  const started = performance.now();
  const { status, stdout } = await looking;
  expect(performance.now() - started).toBeLessThan(30_000);
  clearTimeout(limit);
  await run(['dmsetup', 'resume', disk]);
  expect(stdout).toMatch(/state directory: nothing answers within 5 s: a disk or a file server hangs/);
  expect(status).toBe(12);
});
