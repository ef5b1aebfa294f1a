import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeFrame, PROTOCOL_LINE } from '../../src/stream/frame-format.js';
import { quoteWords } from '../../src/transport/shell-words.js';
import { copyDevice } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  mapperName,
  run,
  tryToRun,
  writeRandom,
} from './support/lab.js';
import { expectFailure, runLvmsync } from './support/outcomes.js';
import { publicKeyOf } from './support/sshd.js';
import { takeOverSudoers, type Sudoers } from './support/sudoers.js';
import { startTwoHosts, type TwoHosts } from './support/two-hosts.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-locked';
const SNAPSHOT = `${GROUP}/snap`;
const IMAGES = '/run/images';
const UNDO = '/run/undo';
const STATE = '/run/locked-state';
const LINE = `/run/bin/lvmsync receive --restrict --state-dir ${STATE} --snapback-dir ${UNDO}`;
const ALLOWED = [`/dev/${GROUP}/backup-*`, `${IMAGES}/*`];
const NOT_ALLOWED = /far: .*: not among the targets that this receiver allows/;

let hosts: TwoHosts;
let sudoers: Sudoers;
let key = '';
let changed = '';
let base = '';
/** May be written, and may not. */
let target = '';
let other = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  sudoers = await takeOverSudoers();
  hosts = await startTwoHosts({ users: [{ name: 'keeper' }] });
  key = publicKeyOf(path.join(homedir(), '.ssh/id_ed25519'));
  hosts.far.forgetKeys();
  hosts.far.authorize(key, `restrict,command="${LINE} --allow ${quoteWords(ALLOWED)}"`);
  const origin = await createVolume(GROUP, 'origin', '4M');
  target = await createVolume(GROUP, 'backup-vm', '4M');
  other = await createVolume(GROUP, 'other', '4M');
  await writeRandom(origin, 0, 4 << 20, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '4M' });
  base = await digestOf(origin);
  await writeRandom(origin, 1 << 20, 100_000, 'changed');
  changed = await digestOf(origin);
  for (const folder of [IMAGES, UNDO, '/run/outside']) mkdirSync(folder);
});
afterAll(async () => {
  await hosts.stop();
  await sudoers.remove();
  for (const folder of [IMAGES, UNDO, STATE, '/run/outside'])
    rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  for (const volume of [target, other]) await copyDevice(`/dev/${SNAPSHOT}`, volume);
  for (const file of readdirSync(IMAGES)) rmSync(path.join(IMAGES, file));
});

/** As far as a receiver reads before it opens its target. */
const BEGINNING = Buffer.concat([
  Buffer.from(PROTOCOL_LINE),
  encodeFrame(
    'H',
    0,
    0,
    Buffer.from(
      JSON.stringify({
        ...{ kind: 'changes', volumeSize: 512, blockSize: 512, base: null, result: null, expectedBytes: 0 },
        ...{ names: {}, host: 'near', time: '2026-01-01T00:00:00.000Z', writer: 'lvmsync' },
      }),
    ),
  ),
]);

/** What a locked-down receiver answers to a client that names this target and sends no more than a first line. */
async function judge(target: string, ...globs: readonly string[]): Promise<string> {
  const words = ['receive', '--restrict', '--state-dir', STATE, '--allow', ...globs];
  const environment = { SSH_ORIGINAL_COMMAND: quoteWords(['lvmsync', 'receive', '--dry-run', '--', target]) };
  return (await lvmsync(words, { environment, input: BEGINNING })).stdout;
}

const statesKept = () => (existsSync(`${STATE}/targets`) ? readdirSync(`${STATE}/targets`) : []);

describe('a volume that a locked-down receiver allows', () => {
  it('is copied in full, but never created', async () => {
    await writeRandom(target, 0, 4 << 20, 'before');
    await runLvmsync('copy', SNAPSHOT, `far:${target}`);
    expect(await digestOf(target)).toBe(base);
    const refused = /its clients cannot use --create/;
    await expectFailure(['copy', SNAPSHOT, `far:${IMAGES}/new.img`, '--create'], 2, refused);
    expect(readdirSync(IMAGES)).toEqual([]);
  });

  it('is written by either of its names, however lvmsync is started, with a snapback', async () => {
    const words = ['--sudo', '--remote-path', '/opt/lvmsync', '--remote-prefix', 'nice -n 10'];
    await runLvmsync(...words, SNAPSHOT, `far:${target}`, '--snapback', 'vm.undo');
    expect(await digestOf(target)).toBe(changed);
    expect(readdirSync(UNDO)).toEqual(['vm.undo']);
    await runLvmsync(
      'verify',
      '-e',
      'ssh',
      `${GROUP}/origin`,
      `far:/dev/mapper/${mapperName(GROUP, 'backup-vm')}`,
    );
    await copyDevice(`/dev/${SNAPSHOT}`, target);
    const mapped = `/dev/dm-${statSync(target).rdev & 0xff}`;
    await runLvmsync('--whole-chunks', SNAPSHOT, `far:${mapped}`);
    expect(await digestOf(target)).toBe(changed);
  });

  it('does not let a client get around what the administrator says', async () => {
    await expectFailure(
      ['--no-journal', SNAPSHOT, `far:${target}`],
      2,
      /far: this receiver is locked down: its clients cannot use --no-journal/,
    );
    const away = ['--snapback', '/run/outside/x', SNAPSHOT, `far:${target}`];
    await expectFailure(away, 2, /plain file name/);
    expect(await digestOf(target)).toBe(base);
    expect(readdirSync('/run/outside')).toEqual([]);
  });
});

describe('an image file that it allows', () => {
  it('is written even under the oddest name', async () => {
    const file = `${IMAGES}/it's a "vm" $(touch pwned) \`id\`;.img`;
    await copyDevice(`/dev/${SNAPSHOT}`, file);
    await runLvmsync(SNAPSHOT, `far:${file}`);
    expect(await digestOf(file)).toBe(changed);
  });

  it('may have a line break in its name, and no line of that counts as a name or a command', async () => {
    const { stdoutBytes: input } = await lvmsync([SNAPSHOT, '--stdout']);
    const receive = (name: string) => {
      const command = quoteWords(['lvmsync', 'receive', '--', name]);
      return tryToRun(['ssh', '-o', 'BatchMode=yes', 'far', command], { input });
    };
    const file = `${IMAGES}/vm\ntouch pwned\n`;
    await copyDevice(`/dev/${SNAPSHOT}`, file);
    expect(await receive(file)).toMatchObject({ status: 0, stderr: '' });
    expect(await digestOf(file)).toBe(changed);
    const outside = `/run/outside/x\n${IMAGES}`;
    mkdirSync(outside, { recursive: true });
    await copyDevice(`/dev/${SNAPSHOT}`, `${outside}/vm`);
    const refusal = expect.stringMatching(/"UNSAFE_TARGET".*not among/) as string;
    expect(await receive(`${outside}/vm`)).toMatchObject({ status: 3, stdout: refusal });
    expect(await digestOf(`${outside}/vm`)).toBe(base);
  });
});

describe('what it does not allow', () => {
  it('is refused in one sentence, and nothing is made for it', async () => {
    await run(['cp', '--sparse=never', other, '/run/outside/file']);
    symlinkSync('/run/outside/file', `${IMAGES}/to-file`);
    symlinkSync(other, `${IMAGES}/to-device`);
    const before = statesKept();
    const names = [
      ...[other, `/dev/mapper/${mapperName(GROUP, 'other')}`, `${path.dirname(target)}/../${GROUP}/other`],
      ...[
        `${IMAGES}/../outside/file`,
        `${IMAGES}/to-file`,
        `${IMAGES}/none`,
        '/dev/watchdog',
        '/proc/self/fd/0',
      ],
    ];
    for (const name of names) expect(await judge(name, ...ALLOWED)).toMatch(/"UNSAFE_TARGET".*not among/);
    await expectFailure([SNAPSHOT, `far:${other}`], 3, NOT_ALLOWED);
    await expectFailure(['verify', `${GROUP}/origin`, `far:${other}`], 3, NOT_ALLOWED);
    expect(await digestOf(other)).toBe(base);
    expect(await digestOf('/run/outside/file')).toBe(base);
    expect(statesKept()).toEqual(before);
  });

  it('is not allowed through a link that anyone may have put below /dev', async () => {
    await run(['chmod', '1777', '/dev/shm']);
    symlinkSync(other, '/dev/shm/link');
    expect(await judge(other, '/dev/shm/*')).toMatch(/not among/);
    expect(await judge(other, '/dev/mapper/*')).not.toMatch(/not among/);
    rmSync('/dev/shm/link');
  });
});

describe('any other command', () => {
  it('is not run, whatever it is wrapped in', async () => {
    const aim = '/run/outside/pwned';
    const commands = [
      `lvmsync receive -- ${target}; touch ${aim}`,
      `lvmsync receive -- $(touch ${aim})`,
      `lvmsync receive -- ${target}\ntouch ${aim}`,
      `lvmsync receive --snapback '${aim}' -- ${target}`,
      '',
    ];
    for (const command of commands) {
      const ssh = ['ssh', '-o', 'BatchMode=yes', 'far', ...(command === '' ? [] : [command])] as const;
      const { status, stdout } = await tryToRun(['timeout', '100', ...ssh], { input: BEGINNING });
      expect({ command, isRefused: status === 12 || status === 2 }).toEqual({ command, isRefused: true });
      expect(stdout).toMatch(/^$|^lvmsync PROTO\[4\]\n[^]*"code":"USAGE"/);
    }
    expect(readdirSync('/run/outside').includes('pwned')).toBe(false);
    expect(await tryToRun(['scp', '-q', '/etc/hostname', `far:${aim}`])).not.toMatchObject({ status: 0 });
    expect(existsSync(aim)).toBe(false);
  });

  it('except for the doctor’s, which is answered', async () => {
    const { status, stdout } = await lvmsync(['doctor', 'far']);
    expect({ status, stdout }).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('as root') as string,
    });
  });
});

describe('behind sudo, as the document has it', () => {
  beforeAll(() => {
    const command = `${LINE} --allow '/dev/${GROUP}/backup-*'`;
    hosts.far.authorize(key, `restrict,command="sudo -n -- ${command}"`, 'keeper');
  });

  it('a user without permissions writes what is allowed', async () => {
    const right = `${LINE} --allow /dev/${GROUP}/backup-\\*`;
    sudoers.write(`keeper ALL=(root) NOPASSWD: ${right}`);
    const words = [SNAPSHOT, `keeper@far:${target}`];
    await expectFailure(
      words,
      9,
      /the connection came without a command[^]*sudoers must keep SSH_ORIGINAL_COMMAND/,
    );
    sudoers.write(
      'Defaults:keeper env_keep += "SSH_ORIGINAL_COMMAND"',
      `keeper ALL=(root) NOPASSWD: ${right}`,
    );
    await runLvmsync(...words);
    expect(await digestOf(target)).toBe(changed);
    await expectFailure([SNAPSHOT, `keeper@far:${other}`], 3, NOT_ALLOWED);
  });

  it('sudo lets the user say nothing else', async () => {
    const words = [`${LINE} --allow /dev/${GROUP}/backup-x /dev/*`, `${LINE} --allow /dev/*`];
    for (const word of words) {
      const asKeeper = [
        'setpriv',
        '--reuid',
        'keeper',
        '--clear-groups',
        'sudo',
        '-n',
        '--',
        ...word.split(' '),
      ];
      expect((await tryToRun(['env', ...asKeeper])).stderr).toMatch(/password|not allowed/);
    }
  });
});

it('the document says what is tested here', () => {
  const page = readFileSync(path.resolve(import.meta.dirname, '../../docs/restricted-receiver.md'), 'utf8');
  expect(page).toContain('Defaults:keeper env_keep += "SSH_ORIGINAL_COMMAND"');
  expect(page).toContain(String.raw`receive --restrict --allow /dev/backup/\*`);
});
