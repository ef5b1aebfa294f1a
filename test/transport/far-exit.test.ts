import { describe, expect, it } from 'vitest';
import { FarSideError, TransportError, UsageError } from '../../src/errors.js';
import { explainFarExit, LastLines, sudoersLine, UNKNOWN_FACTS } from '../../src/transport/far-exit.js';
import {
  applyWords,
  buildFarCommand,
  PLAIN_FAR_COMMAND,
  receiveWords,
  takeFarCommand,
} from '../../src/transport/remote-command.js';
import { silentEnd } from '../support/far-end.js';

const WITH_SUDO = { ...PLAIN_FAR_COMMAND, sudo: true };

function explain(status: number | null, signal: string | null = null, carrier: 'ssh2' | 'rsh' = 'ssh2') {
  return explainFarExit(silentEnd({ status, signal }, { carrier, heard: ['oh no', 'bye'] }));
}

describe('a far side that ended without its report', () => {
  it.each([
    [127, FarSideError, /lvmsync was not found; install it there: version 4\.1\.0.*PATH.*--remote-path/],
    [126, FarSideError, /cannot be executed/],
    [2, FarSideError, /too old; install it there: version 4\.1\.0/],
    [0, TransportError, /without reporting a result/],
    [8, TransportError, /status 8 and no report/],
    [null, TransportError, /the connection broke/],
  ])('with status %s is told in one error that names the host and what it said', (status, kind, message) => {
    const error = explain(status);
    expect(error).toBeInstanceOf(kind);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^far: .*it said: oh no; bye$/);
  });

  it('that was ended by a signal is a broken line', () => {
    expect(explain(null, 'SIGKILL')).toBeInstanceOf(TransportError);
    expect(explain(null, 'SIGKILL').message).toContain('SIGKILL');
  });

  it('with status 255 is ssh itself only where an ssh carried the bytes', () => {
    expect(explain(255, null, 'rsh').message).toContain('remote shell command failed');
    expect(explain(255, null, 'ssh2').message).toContain('status 255');
  });

  it.each([[[]], [['shown before']]])('says nothing of stderr where there was nothing new', (heard) => {
    const error = explainFarExit(silentEnd({ status: 0, signal: null }, { heard, isShown: true }));
    expect(error.message).not.toContain('said');
  });

  it.each([
    [2, '3.9.1', /lvmsync 3\.9\.1 is installed there, which is too old; install it there: version 4\.1\.0/],
    [2, '4.1.0', /has the same version/],
    [1, 'lvmsync 3.3.2', /lvmsync 3\.3\.2 is installed there, which is too old/],
  ])('with status %s says which version is there: %s', (status, version, message) => {
    const error = explainFarExit(silentEnd({ status, signal: null }), { ...UNKNOWN_FACTS, version });
    expect(error).toBeInstanceOf(FarSideError);
    expect(error.message).toMatch(message);
  });

  it('with status 1 and an lvmsync of this generation is not a matter of versions', () => {
    const facts = { ...UNKNOWN_FACTS, version: '4.0.0' };
    expect(explainFarExit(silentEnd({ status: 1, signal: null }), facts)).toBeInstanceOf(TransportError);
  });

  it('with 127 because node is missing, not lvmsync, says so', () => {
    const heard = ["/usr/bin/env: 'node': No such file or directory"];
    expect(explainFarExit(silentEnd({ status: 127, signal: null }, { heard })).message).toMatch(
      /lvmsync is installed there, but node was not found/,
    );
  });
});

describe('what sudo says', () => {
  const explainSudo = (status: number, line: string, path: string | null = null) =>
    explainFarExit(silentEnd({ status, signal: null }, { heard: [line], command: { ...WITH_SUDO, path } }), {
      version: null,
      user: 'bob',
      program: '/usr/local/bin/lvmsync',
    });

  it.each([
    'sudo: a password is required',
    "Sorry, user bob is not allowed to execute '/usr/local/bin/lvmsync receive -- /dev/x' as root on far.",
    'sudo: bob is not in the sudoers file.',
  ])('%j is answered with the line for sudoers', (line) => {
    const error = explainSudo(1, line);
    expect(error.code).toBe('COMMAND');
    expect(error.message).toContain(
      '/etc/sudoers.d/lvmsync (visudo -f): bob ALL=(root) NOPASSWD: /usr/local/bin/lvmsync',
    );
  });

  it('names the path that the user gave', () => {
    const error = explainSudo(1, 'sudo: a password is required', '/opt/my lvmsync/lvmsync');
    expect(error.message).toContain(String.raw`NOPASSWD: /opt/my\ lvmsync/lvmsync`);
  });

  it('about a terminal, or a missing sudo, is reported too', () => {
    expect(explainSudo(1, 'sudo: sorry, you must have a tty to run sudo').message).toContain(
      'Defaults:bob !requiretty',
    );
    expect(explainSudo(127, 'bash: line 1: sudo: command not found').message).toMatch(
      /sudo is not installed/,
    );
  });

  it('about a missing lvmsync is reported as a missing lvmsync', () => {
    const error = explainSudo(1, 'sudo: lvmsync: command not found');
    expect(error).toBeInstanceOf(FarSideError);
    expect(error.message).toMatch(/secure_path.*--remote-path/);
  });

  it('is not confused with lvmsync’s own status 1', () => {
    expect(explainSudo(1, 'lvmsync: internal fault').message).toMatch(/ended with status 1/);
  });
});

it('special characters in a line of sudoers are escaped', () => {
  expect(sudoersLine('DOM\\a b', '/x,y/*')).toBe(String.raw`DOM\\a\ b ALL=(root) NOPASSWD: /x\,y/\*`);
});

it('the last lines are the newest', () => {
  const last = new LastLines(2);
  for (const line of ['a', 'b', 'c']) last.add(line);
  expect(last.lines).toEqual(['b', 'c']);
});

describe("the far side's words", () => {
  it('of a session end its options before the target', () => {
    expect(receiveWords('-x', [])).toEqual(['receive', '--', '-x']);
    expect(receiveWords('/dev/x', ['--snapback', '/var/undo'])).toEqual(
      'receive --snapback /var/undo -- /dev/x'.split(' '),
    );
  });

  it('of a Ruby lvmsync are those of the Ruby tool', () => {
    expect(applyWords('/dev/x', null)).toEqual('--apply - /dev/x'.split(' '));
    expect(applyWords('/dev/x', 'undo')).toEqual('--apply - --snapback undo /dev/x'.split(' '));
    expect(() => applyWords('--help', null)).toThrow(UsageError);
  });

  it('come after the prefix, sudo and the path, in this order', () => {
    expect(buildFarCommand(PLAIN_FAR_COMMAND, ['receive'])).toEqual(['lvmsync', 'receive']);
    const all = { prefix: ['nice', '-n', '10'], sudo: true, path: '/opt/a b/lvmsync' };
    expect(buildFarCommand(all, ['receive', '--', '/dev/x'])).toEqual([
      ...['nice', '-n', '10', 'sudo', '-n', '--', '/opt/a b/lvmsync', 'receive', '--', '/dev/x'],
    ]);
  });
});

describe('a far command that is parsed', () => {
  it.each([
    [PLAIN_FAR_COMMAND],
    [{ ...PLAIN_FAR_COMMAND, sudo: true }],
    [{ prefix: ['nice', '-n', '10', 'ionice', '-c3', '-t'], sudo: true, path: '/opt/a b/lvmsync' }],
    [{ prefix: ['nice', '-5'], sudo: false, path: '/lvmsync' }],
  ])('is the words for lvmsync, however it is started: %j', (command) => {
    const words = ['receive', '--', '/dev/lvmsync'];
    expect(takeFarCommand(buildFarCommand(command, words))).toEqual(words);
  });

  it.each([
    ['nothing', []],
    ['another program', ['rsync', 'lvmsync', 'receive']],
    ['a path that is not from / on', ['bin/lvmsync', 'receive']],
    ['a name that only ends so', ['/bin/not-lvmsync', 'receive']],
    ['another prefix', ['env', 'A=b', 'lvmsync', 'receive']],
    ['a prefix with words of its own', ['nice', 'sh', 'lvmsync', 'receive']],
    ['sudo for another user', ['sudo', '-n', '-u', 'x', '--', 'lvmsync', 'receive']],
    ['sudo behind sudo', ['sudo', '-n', '--', 'sudo', '-n', '--', 'lvmsync']],
  ])('is not accepted with %s', (_name, words) => {
    expect(takeFarCommand(words)).toBeNull();
  });
});
