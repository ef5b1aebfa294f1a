import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandError, InterruptedError } from '../../src/errors.js';
import { ProcessSpawner, type CommandResult, type RunOptions } from '../../src/host/spawner.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'command-watch-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

class Place {
  readonly notices: string[] = [];
  readonly stop = new AbortController();
  readonly leave = new AbortController();
  readonly spawner = new ProcessSpawner(process.env, {
    tell: () => undefined,
    notice: (line) => this.notices.push(line),
    signal: this.stop.signal,
    leaving: this.leave.signal,
  });

  interrupt(): void {
    this.stop.abort(new InterruptedError('SIGINT'));
  }
}

/** A host on which LVM was left without its dmsetup. */
class WithoutDmsetup extends ProcessSpawner {
  override run(argv: readonly [string, ...string[]], options?: RunOptions): Promise<CommandResult> {
    const missing = new CommandError(['dmsetup'], 'not installed, or not in PATH');
    return argv[0] === 'dmsetup' ? Promise.reject(missing) : super.run(argv, options);
  }
}

/** Has a program of this system hold a lock while some work is done. */
async function whileLocked(lock: string, work: () => Promise<void>, kind = '-x'): Promise<void> {
  const holder = spawn('flock', [kind, lock, 'sh', '-c', 'echo; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  try {
    await work();
  } finally {
    process.kill(-(holder.pid ?? 0), 'SIGKILL');
  }
}

describe('a command that waits for a lock', () => {
  it('is reported with the holder of the lock, and gets the lock in the end', async () => {
    const place = new Place();
    const lock = path.join(folder, 'held');
    const under: { running?: Promise<CommandResult> } = {};
    await whileLocked(lock, async () => {
      under.running = place.spawner.run(['flock', lock, 'echo', 'mine'], { watch: 'change' });
      for (let tries = 0; place.notices.length === 0 && tries < 100; tries++) await sleep(100);
      expect(place.notices).toEqual([
        expect.stringMatching(
          /^flock is waiting for the lock \/.*\/held, held by process \d+ \(flock -x \/.*\/held sh -c .*\)$/,
        ),
      ]);
    });
    expect(await under.running).toMatchObject({ status: 0, stdout: 'mine\n' });
  });

  it.each(['question', 'change'] as const)('as a %s, gives up when the user interrupts', async (watch) => {
    const place = new Place();
    const lock = path.join(folder, watch);
    await whileLocked(lock, async () => {
      const running = place.spawner.run(['flock', lock, 'echo'], { watch });
      const outcome = running.catch((error: unknown) => error);
      await sleep(300);
      place.interrupt();
      expect(await outcome).toBeInstanceOf(InterruptedError);
    });
  });

  it('is given up by an impatient caller, and the error names the holder', async () => {
    const place = new Place();
    const lock = path.join(folder, 'impatient');
    await whileLocked(lock, async () => {
      const before = performance.now();
      const words = ['flock', lock, 'echo'] as const;
      const result = await place.spawner.run(words, { watch: 'question', patienceMs: 500 });
      expect(performance.now() - before).toBeLessThan(10_000);
      expect(result).toMatchObject({
        status: null,
        gaveUp: expect.stringMatching(
          /^timed out waiting for the lock .*\/impatient, held by process \d+ /,
        ) as string,
      });
    });
  });

  it('is not waited for if it ignores the signal to end', async () => {
    const place = new Place();
    const script = 'trap "" TERM; for i in 1 2 3 4 5 6 7 8; do sleep 1; done';
    const before = performance.now();
    const words = ['sh', '-c', script] as const;
    const result = await place.spawner.run(words, { watch: 'question', patienceMs: 500 });
    expect(performance.now() - before).toBeLessThan(6000);
    expect(result).toMatchObject({ status: null, gaveUp: 'no answer within 0.5 s' });
  });

  it('that several processes hold is reported once, even if one of them releases it', async () => {
    const place = new Place();
    const lock = path.join(folder, 'shared');
    const under: { running?: Promise<CommandResult> } = {};
    const hold = (work: () => Promise<void>) => whileLocked(lock, work, '-s');
    await hold(async () => {
      await hold(async () => {
        under.running = place.spawner.run(['flock', lock, 'true'], { watch: 'change' });
        for (let tries = 0; place.notices.length === 0 && tries < 100; tries++) await sleep(100);
      });
      await sleep(1000);
    });
    await under.running;
    expect(place.notices).toEqual([
      expect.stringMatching(/shared, held by process \d+ \(.*\) and process \d+ \(.*\)$/),
    ]);
  });

  it('does not outlive us when we leave at once', async () => {
    const place = new Place();
    const lock = path.join(folder, 'left');
    await whileLocked(lock, async () => {
      const running = place.spawner.run(['flock', lock, 'echo'], { watch: 'change' });
      await sleep(300);
      place.leave.abort();
      expect(await running).toMatchObject({ status: null, stdout: '' });
    });
  });

  it('after an interruption, to clean up, waits only a moment', async () => {
    const place = new Place();
    const lock = path.join(folder, 'clean-up');
    place.interrupt();
    await whileLocked(lock, async () => {
      const result = await place.spawner.run(['flock', lock, 'echo'], { watch: 'change' });
      expect(result.status).not.toBe(0);
      expect(result.gaveUp).toMatch(
        /^timed out waiting for the lock .*\/clean-up, held by process \d+ .*: wait/,
      );
    });
  });
});

describe('a cookie of device-mapper’s', () => {
  // counts up a new semaphore, says so, and waits until it is counted down, or gone
  const script = (key: number) => `
    my $id = semget(${key}, 1, 01600) // die $!;
    semop($id, pack("s!3", 0, 1, 0)) or die $!;
    $| = 1; print "$id\\n"; semop($id, pack("s!3", 0, 0, 0));`;
  const keyOf = (low: number) => 0x0d4d0000 + low;
  const remove = (key: number) => spawn('ipcrm', ['-S', String(key)]);

  it('keeps the command waiting that made it', async () => {
    const place = new Place();
    const key = keyOf(0x7a01);
    const running = place.spawner.run(['perl', '-e', script(key)], { watch: 'change' });
    for (let tries = 0; place.notices.length === 0 && tries < 40; tries++) await sleep(100);
    remove(key);
    await running;
    expect(place.notices).toEqual([expect.stringMatching(/^perl is waiting for udev/)]);
  });

  it('that cannot be completed, as dmsetup is missing, leaves the command waiting and us alive', async () => {
    const told: string[] = [];
    const { stop, leave } = new Place();
    const spawner = new WithoutDmsetup(process.env, {
      ...{ notice: () => undefined, signal: stop.signal, leaving: leave.signal },
      tell: (line) => told.push(line),
    });
    const key = keyOf(0x7a03);
    const unhandled: unknown[] = [];
    const hear = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', hear);
    try {
      const running = spawner.run(['perl', '-e', script(key)], { watch: 'change' });
      for (let tries = 0; !told.some((line) => line.includes('not installed')) && tries < 90; tries++)
        await sleep(100);
      remove(key);
      expect(await running).toMatchObject({
        gaveUp: expect.stringMatching(/timed out waiting for udev/) as string,
      });
      expect(told.join('\n')).toMatch(/dmsetup: not installed, or not in PATH/);
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', hear);
    }
  });

  it('is ignored if another program made it', async () => {
    const place = new Place();
    const key = keyOf(0x7a02);
    const running = place.spawner.run(['sleep', '4'], { watch: 'change' });
    const other = spawn('perl', ['-e', script(key)], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => other.stdout.once('data', resolve));
    await running;
    remove(key);
    expect(place.notices).toEqual([]);
  });
});

describe('an interruption', () => {
  it('leaves a change to its end', async () => {
    const place = new Place();
    const running = place.spawner.run(['sh', '-c', 'sleep 2; echo done'], { watch: 'change' });
    await sleep(100);
    place.interrupt();
    expect(await running).toEqual({ status: 0, stdout: 'done\n', stderr: '' });
    expect(place.notices).toEqual([]);
  });

  it('leaves a question that is quickly answered to its end', async () => {
    const place = new Place();
    const running = place.spawner.run(['sh', '-c', 'sleep 0.1; echo done'], { watch: 'question' });
    place.interrupt();
    expect(await running).toMatchObject({ status: 0, stdout: 'done\n' });
  });

  it('does not touch what is not watched', async () => {
    const place = new Place();
    const running = place.spawner.run(['sh', '-c', 'sleep 1.5; echo done']);
    place.interrupt();
    expect(await running).toMatchObject({ status: 0, stdout: 'done\n' });
  });
});

it('a program is run without the variables that are taken from it', async () => {
  const spawner = new ProcessSpawner({ ...process.env, LVM_REPORT_FD: '2', OTHER: 'kept' });
  const environment = { LVM_REPORT_FD: undefined, LVM_SUPPRESS_FD_WARNINGS: '1' };
  const { stdout } = await spawner.run(['env'], { environment });
  expect(stdout).toMatch(/^OTHER=kept$/m);
  expect(stdout).toMatch(/^LVM_SUPPRESS_FD_WARNINGS=1$/m);
  expect(stdout).not.toMatch(/LVM_REPORT_FD/);
});
