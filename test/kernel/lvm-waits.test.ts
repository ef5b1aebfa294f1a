import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from './support/devices.js';
import { createSnapshot, createVolume, lvmsyncCommand, run, tryToRun, writeRandom } from './support/lab.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-waits';
const CONF = '/etc/lvm/lvm.conf';
const LOCK = `/run/lock/lvm/V_${GROUP}`;
const SNAPSHOT = `${GROUP}/snap`;
const MADE = `${GROUP}/made`;
const COPY = ['copy', SNAPSHOT, MADE, '--create', '--state-dir', '/run/waits'] as const;

const usual = readFileSync(CONF, 'utf8');

useVolumeGroup(GROUP);
beforeAll(async () => {
  await writeRandom(await createVolume(GROUP, 'origin', '4M'), 0, 1 << 20, 'waits');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '4M', permission: 'r' });
  await run(['lvcreate', '-qq', '-y', '-L', '8M', '--type', 'thin-pool', '-n', 'pool', GROUP]);
});
afterAll(() => {
  rmSync('/run/waits', { recursive: true, force: true });
});
afterEach(async () => {
  writeFileSync(CONF, usual);
  rmSync('/run/udev', { recursive: true, force: true });
  expect(await volumes()).toBe('origin pool snap');
});

async function volumes(): Promise<string> {
  return (await run(['lvs', '--noheadings', '-o', 'lv_name', GROUP])).trim().split(/\s+/).sort().join(' ');
}

/** A run under way; what it has said so far. */
class Run {
  stderr = '';
  readonly ended: Promise<number | null>;
  private readonly child: ChildProcess;

  constructor(...words: readonly string[]) {
    const [command, ...rest] = lvmsyncCommand(...words);
    this.child = spawn(command, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr?.on('data', (piece: Buffer) => (this.stderr += piece.toString()));
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
  }

  async waitToSay(words: RegExp): Promise<void> {
    await waitUntil(`it says ${words.source}`, () => words.test(this.stderr) || this.child.exitCode !== null);
    expect(this.stderr).toMatch(words);
  }

  interrupt(): void {
    this.child.kill('SIGINT');
  }
}

/** Holds the group's lock while some work is done, by the script of a shell. */
async function whileLocked(script: string, work: () => Promise<void>): Promise<void> {
  const holder = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  try {
    await work();
  } finally {
    process.kill(-(holder.pid ?? 0), 'SIGKILL');
  }
}

const HELD = `exec flock ${LOCK} sh -c "echo; sleep 600"`;
/** Questions pass, changes wait. */
const SHARED = `exec flock -s ${LOCK} sh -c "echo; sleep 600"`;
/** By a shell that has it from a program that ended. */
const INHERITED = `exec 9>${LOCK}; flock 9; echo; sleep 600`;

describe('a lock of another process', () => {
  it.each([
    ['a program', HELD, /flock \/run\/lock\/lvm\/V_vg-waits/],
    ['what is left of one', INHERITED, /bash|sleep 600/],
  ])('is reported after a moment, with %s that holds it', async (_name, script, holder) => {
    let inspecting: Run | null = null;
    await whileLocked(script, async () => {
      const running = new Run('inspect', `${GROUP}/nix`);
      inspecting = running;
      await running.waitToSay(
        /^lvmsync: lvs is waiting for the lock \/run\/lock\/lvm\/V_vg-waits, held by process \d+ \(.*\)$/m,
      );
      expect(running.stderr).toMatch(holder);
    });
    // with the lock free again, the answer is what it would have been
    expect(await (inspecting as unknown as Run).ended).toBe(4);
    expect((inspecting as unknown as Run).stderr).toMatch(/no such device or logical volume/);
  });

  it.each([
    ['question', HELD, 'lvs', ['inspect', `${GROUP}/nix`]],
    ['change', SHARED, 'lvcreate', COPY],
  ] as const)(
    'does not keep a %s waiting once the user interrupts it',
    async (_kind, script, program, words) => {
      await whileLocked(script, async () => {
        const running = new Run(...words);
        await running.waitToSay(new RegExp(`${program} is waiting for the lock`));
        expect(programsAt(GROUP)).toEqual([program]);
        running.interrupt();
        const before = performance.now();
        expect(await running.ended).toBe(130);
        expect(performance.now() - before).toBeLessThan(10_000);
        expect(running.stderr).toMatch(/stopped by SIGINT/);
        await waitUntil('nothing is left', () => programsAt(GROUP).length === 0);
      });
    },
  );
});

it('a second interrupt leaves nothing behind that would change something later', async () => {
  await whileLocked(SHARED, async () => {
    const running = new Run(...COPY);
    await running.waitToSay(/lvcreate is waiting for the lock/);
    running.interrupt();
    await new Promise((resolve) => setTimeout(resolve, 30));
    running.interrupt();
    expect(await running.ended).toBe(130);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(programsAt(GROUP)).toEqual([]);
  });
});

describe('a udev that LVM leaves nodes to', () => {
  /** As in a container: LVM has its usual settings. */
  async function runThere(...words: readonly string[]) {
    writeFileSync(CONF, usual.replace('udev_sync=0 udev_rules=0', 'udev_sync=1 udev_rules=1'));
    expect(readFileSync(CONF, 'utf8')).not.toBe(usual);
    return await tryToRun(['env', '-u', 'DM_DISABLE_UDEV', ...lvmsyncCommand(...words)]);
  }

  const ADVICE =
    /if udev does not run here \(in a container or a chroot\), set udev_sync = 0 and udev_rules = 0/;

  it.each([
    ['thick', COPY, /lvcreate .*LVM found no node for its new volume/],
    [
      'thin',
      ['copy', SNAPSHOT, MADE, '--create-thin', 'pool', '--state-dir', '/run/waits'],
      /lvcreate .*has no node \/dev\/vg-waits\/made\.partial|no node for its new volume/,
    ],
  ] as const)(
    'that does not run: no %s volume is made, and the error says why',
    async (_kind, words, problem) => {
      const { status, stderr } = await runThere(...words);
      expect([status, stderr]).toEqual([12, expect.stringMatching(problem)]);
      expect(stderr).toMatch(ADVICE);
    },
  );

  it('that does not run: doctor warns of it', async () => {
    const { stdout } = await runThere('doctor', '--json');
    expect(stdout).toMatch(/LVM leaves them to udev, which does not run here/);
  });

  it('that died: it is not waited for without end', async () => {
    await leaveDeadSocket();
    const { status, stderr } = await runThere(...COPY);
    expect([status, stderr]).toEqual([12, expect.stringMatching(/LVM timed out waiting for udev/)]);
    expect(stderr).toMatch(/^lvmsync: lvcreate is waiting for udev, which is not running here/m);
    expect(stderr).toMatch(ADVICE);
    expect(readFileSync('/proc/sysvipc/sem', 'latin1').trim().split('\n')).toHaveLength(1);
  });
});

/** Leaves udev's control socket as it is where udevd was killed. */
async function leaveDeadSocket(): Promise<void> {
  await run(['mkdir', '-p', '/run/udev']);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen('/run/udev/dead', resolve));
  await run(['mv', '/run/udev/dead', '/run/udev/control']);
  await new Promise((resolve) => server.close(resolve));
}

/** The names of the running programs that have this group among their words. */
function programsAt(group: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const [program = '', ...words] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return /^(lvs|vgs|lv[a-z]+|dmsetup)$/.test(program) && words.some((word) => word.includes(group))
          ? [program]
          : [];
      } catch {
        return [];
      }
    });
}
