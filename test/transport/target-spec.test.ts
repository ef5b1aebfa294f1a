import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { formatRemoteHost, parseTargetSpec } from '../../src/transport/target-spec.js';
import { ANY_CHARACTER } from '../support/any-character.js';

function remote(host: string, path: string, user: string | null = null, port: number | null = null) {
  return { kind: 'remote', user, host, port, path };
}

describe('a [HOST:]TARGET word', () => {
  it.each([
    '/dev/vg/lv',
    'vg/lv',
    'lv',
    './a:b',
    '/dev/disk/by-path/pci-0000:00:1f.2-ata-1',
    'dir/a:b',
    '[image].raw',
    '-',
    'name with blanks',
  ])('%s is local', (word) => {
    expect(parseTargetSpec(word)).toEqual({ kind: 'local', path: word });
  });

  it.each([
    ['host:/dev/vg/lv', remote('host', '/dev/vg/lv')],
    ['host:lv', remote('host', 'lv')],
    ['host:a:b', remote('host', 'a:b')],
    ['host:./-x', remote('host', './-x')],
    ['user@host:/dev/vg/lv', remote('host', '/dev/vg/lv', 'user')],
    ['user@realm@host:/dev/x', remote('host', '/dev/x', 'user@realm')],
    ['host:/dev/a@b:c', remote('host', '/dev/a@b:c')],
    ['[::1]:/dev/x', remote('::1', '/dev/x')],
    ['user@[2001:db8::1]:dev', remote('2001:db8::1', 'dev', 'user')],
    ['[fe80::1%eth0]:dev', remote('fe80::1%eth0', 'dev')],
    ['ssh://host/dev/x', remote('host', '/dev/x')],
    ['ssh://user@host:2222/dev/x', remote('host', '/dev/x', 'user', 2222)],
    ['ssh://[::1]:22/dev/x', remote('::1', '/dev/x', null, 22)],
    ['ssh://u@[::1]/dev/a:b', remote('::1', '/dev/a:b', 'u')],
  ])('%s is remote', (word, spec) => {
    expect(parseTargetSpec(word)).toEqual(spec);
  });

  it.each([
    ['', /empty/],
    [':/dev/x', /host .*empty/],
    ['::1:/dev/x', /host .*empty/],
    ['[]:dev', /host .*empty/],
    ['@host:dev', /user .*empty/],
    ['host:', /path .*empty/],
    ['ssh://host', /path .*empty/],
    ['ssh:///dev/x', /host .*empty/],
    ['ssh://host:0/dev/x', /port/],
    ['ssh://host:65536/dev/x', /port/],
    ['ssh://host:ssh/dev/x', /port/],
    ['ssh://host:/dev/x', /port/],
    ['ssh://::1/dev/x', /port/],
    ['ssh://a@[::1/dev/x', /form ssh:/],
    ['-oProxyCommand=reboot:dev', /dash/],
    ['[-oProxyCommand=reboot]:dev', /dash/],
    ['ssh://-oProxyCommand=reboot/dev/x', /dash/],
    ['-l@host:dev', /dash/],
    ['ho`id`st:dev', /not allowed in a host name/],
    ['a b:dev', /not allowed in a host name/],
    ['$(id)@host:dev', /not allowed in a user name/],
    ['host:/dev/\u001b[2J', /control/],
    ['host\n:dev', /control/],
    ['us\u0000er@host:dev', /control/],
  ])('%j is refused', (word, message) => {
    expect(() => parseTargetSpec(word)).toThrow(UsageError);
    expect(() => parseTargetSpec(word)).toThrow(message);
  });

  const name = fc.stringMatching(/^[a-z0-9_][a-z0-9._-]{0,20}$/);
  const path = fc.stringMatching(/^[a-zA-Z0-9/:@[\]. '"$-]{1,30}$/);

  it('takes the first colon for the host’s, whatever the path looks like', () => {
    expect(parseTargetSpec('host:@[::1]:/dev/x')).toMatchObject({
      host: 'host',
      user: null,
      path: '@[::1]:/dev/x',
    });
  });

  it('gives back the parts that it was put together from', () => {
    fc.assert(
      fc.property(fc.option(name), name, path, (user, host, target) => {
        const word = `${formatRemoteHost({ user, host, port: null })}:${target}`;
        expect(parseTargetSpec(word)).toEqual(remote(host, target, user));
      }),
    );
  });

  it('is local or refused whenever a slash comes before any colon', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[^:/]*\/.*$/), (word) => {
        fc.pre(!word.startsWith('ssh://'));
        expect(parseTargetSpec(word)).toEqual({ kind: 'local', path: word });
      }),
    );
  });

  it('never lets a word through whose host or user an ssh would take for an option', () => {
    const part = fc.oneof(
      fc.string({ unit: ANY_CHARACTER, maxLength: 40 }),
      fc.stringMatching(/^[a-z-]{0,3}$/),
    );
    const parts = fc.array(part, { minLength: 1, maxLength: 3 });
    const met = { local: 0, remote: 0, refused: 0 };
    fc.assert(
      fc.property(parts, fc.nat(2), (texts, shape) => {
        const text = texts.join('@');
        const word = [`-${text}:x`, `u@-${text}:x`, `ssh://-${text}/x`][shape] ?? '';
        let spec;
        try {
          spec = parseTargetSpec(word);
        } catch (error) {
          met.refused += 1;
          expect(error).toBeInstanceOf(UsageError);
          return;
        }
        met[spec.kind] += 1;
        const words = spec.kind === 'remote' ? [spec.host, spec.user ?? '', formatRemoteHost(spec)] : [];
        expect(words.filter((each) => each.startsWith('-'))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
    // each of them, so that none of this is said of nothing
    expect(Math.min(met.local, met.remote, met.refused)).toBeGreaterThan(0);
  });
});
