import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CommandError, UsageError } from '../../src/errors.js';
import { combinePolicy, readClientCommand, readClientSession } from '../../src/reach/client-wish.js';
import { DEFAULT_POLICY, policyWords, type ApplyPolicy } from '../../src/targets/apply-policy.js';
import {
  answerWords,
  buildFarCommand,
  PLAIN_FAR_COMMAND,
  receiveWords,
} from '../../src/transport/remote-command.js';
import { quoteWords } from '../../src/transport/shell-words.js';

const REST = { snapback: null, stopOnMismatch: false, dryRun: false, readOnly: false };

/** What a locked-down receiver makes of what a sender asks sshd to run. */
function sessionOf(words: readonly string[], command = PLAIN_FAR_COMMAND) {
  const wish = readClientCommand(quoteWords(buildFarCommand(command, words)));
  return wish.kind === 'receive' ? readClientSession(wish.words) : wish;
}

describe('what our own senders ask for', () => {
  const target = "/dev/vg/it's $(here)\n";

  it('is understood', () => {
    expect(sessionOf(receiveWords(target, []))).toEqual({ target, ...REST });
    expect(sessionOf(answerWords(target))).toEqual({ target, ...REST, readOnly: true });
    const asked = { ...DEFAULT_POLICY, snapback: 'vm.undo', stopOnMismatch: true };
    expect(
      sessionOf(receiveWords(target, policyWords(asked)), { prefix: [], sudo: true, path: '/x/lvmsync' }),
    ).toEqual({ target, ...REST, snapback: 'vm.undo', stopOnMismatch: true });
    // a dry run is a question in the session
    expect(policyWords({ ...asked, dryRun: true })).toEqual(policyWords(asked));
    expect(sessionOf(receiveWords(target, ['--dry-run']))).toEqual({ target, ...REST, dryRun: true });
    expect(sessionOf(['doctor', '--answer'])).toEqual({ kind: 'doctor' });
    expect(sessionOf(['--version'])).toEqual({ kind: 'version' });
  });

  it.each<[string, Partial<ApplyPolicy>]>([
    ['state-dir', { stateDir: '/tmp' }],
    ['no-journal', { journal: false }],
    ['force', { forceBase: true }],
    ['create', { create: { kind: 'plain' } }],
    ['create-thin', { create: { kind: 'thin', pool: 'pool' } }],
  ])('but --%s is not allowed', (name, policy) => {
    const words = receiveWords(target, policyWords({ ...DEFAULT_POLICY, ...policy }));
    expect(() => sessionOf(words)).toThrow(UsageError);
    expect(() => sessionOf(words)).toThrow(`its clients cannot use --${name}`);
  });
});

describe('a command that is not ours', () => {
  it.each([
    ...[
      null,
      '',
      ' ',
      'ls',
      'lvmsync',
      'lvmsync --apply - /dev/x',
      'lvmsync inspect x',
      'lvmsync doctor host',
    ],
    ...[
      'lvmsync doctor --answer --sudo',
      'lvmsync receive -- /dev/x; id',
      'lvmsync receive -- $(id)',
      'sh -c lvmsync',
    ],
    ...[
      'lvmsync receive -- /dev/x\nid',
      '/usr/lib/openssh/sftp-server',
      'rsync --server',
      'lvmsync recover /dev/x',
    ],
  ])('%j is refused', (command) => {
    expect(() => readClientCommand(command)).toThrow(CommandError);
  });
});

describe('the words of a session', () => {
  it.each([
    [[]],
    [['/dev/x']],
    [['--']],
    [['--', '']],
    [['--', '/dev/x', '/dev/y']],
    [['--dry-run', '/dev/x']],
    [['--dry-run=1', '--', '/dev/x']],
    [['--restrict', '--', '/dev/x']],
    [['--allow', '/dev/*', '--', '/dev/x']],
    [['--create', '--', '/dev/x']],
    [['--create-thin', 'pool', '--', '/dev/x']],
    [['--snapback-dir', '/', '--', '/dev/x']],
    [['--require-snapback', '--', '/dev/x']],
    [['-b', 'x', '--', '/dev/x']],
    [['--on-base-mismatch', 'go', '--', '/dev/x']],
    [['--snapback', 'x', '--read-only', '--', '/dev/x']],
  ])('%j are refused', (words) => {
    expect(() => readClientSession(words)).toThrow(UsageError);
  });

  it.each([
    '',
    '.',
    '..',
    '../x',
    'a/b',
    '/etc/passwd',
    '.ssh',
    '-x',
    'x.partial',
    'a\nb',
    'a b',
    '--',
    'ü',
    'x'.repeat(201),
  ])('the snapback %j is refused', (name) => {
    expect(() => readClientSession(['--snapback', name, '--', '/dev/x'])).toThrow(UsageError);
  });

  it('never make more of a policy than the administrator allowed', () => {
    const word = fc.oneof(
      fc.constantFrom(
        '--dry-run',
        '--read-only',
        '--snapback',
        '--on-base-mismatch',
        'stop',
        'x',
        '..',
        '--',
      ),
      fc.constantFrom('--no-journal', '--create', '--force', 'base', '--state-dir', '/tmp', '/dev/x'),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 8 }), fc.boolean(), (words, stops) => {
        const admin = {
          ...{ ...DEFAULT_POLICY, stateDir: '/s', stopOnMismatch: stops },
          ...{ requireSnapback: true, requireJournal: true },
        };
        let policy;
        try {
          policy = combinePolicy(admin, readClientSession(words), '/undo');
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
          return;
        }
        const { snapback, stopOnMismatch, dryRun, ...rest } = policy;
        expect(rest).toEqual({
          ...{ stateDir: '/s', journal: true, forceBase: false, create: null },
          ...{ requireSnapback: true, requireJournal: true },
        });
        expect(stopOnMismatch || !stops).toBe(true);
        expect([null, '/undo/x', '/undo/base', '/undo/stop']).toContain(snapback);
        expect(typeof dryRun).toBe('boolean');
      }),
    );
  });

  it('give no snapback if there is no folder for it', () => {
    const session = readClientSession(['--snapback', 'x', '--', '/dev/x']);
    expect(() => combinePolicy(DEFAULT_POLICY, session, null)).toThrow(/no directory for --snapback/);
  });
});
