import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  judgeShownKey,
  objectToHostKey,
  orderAlgorithms,
  fingerprintOf,
  formatKnownHost,
  judgeHostKey,
  nameOnFile,
  parseKnownHosts,
  speaksOf,
  type KnownHost,
} from '../../../src/transport/ssh/known-hosts.js';

/** Written by OpenSSH's own tools: see fixtures/make.sh. */
function fixture(name: string): string {
  return readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8');
}

function publicKey(name: string): Buffer {
  return Buffer.from(fixture(`${name}.pub`).split(' ')[1] ?? '', 'base64');
}

function entriesFor(host: string, port = 22) {
  return parseKnownHosts(fixture('known_hosts'), 'known_hosts').filter((entry) =>
    speaksOf(entry, host, port),
  );
}

/** `name` or `[name]:port`, as ssh-keygen -F takes it. */
function splitName(name: string): [host: string, port: number] {
  const parts = /^\[(.*)\]:(\d+)$/.exec(name);
  return parts === null ? [name, 22] : [parts[1] ?? '', Number(parts[2])];
}

describe.each(['known_hosts', 'known_hosts.hashed'])('%s', (file) => {
  const entries = parseKnownHosts(fixture(file), file);
  const answers = fixture(`${file}.found`).trimEnd().split('\n');

  it.each(answers)('mentions a host on the lines where ssh-keygen -F finds it: %s', (answer) => {
    const [name = '', ...lines] = answer.split(' ');
    const found = entries.filter((entry) => speaksOf(entry, ...splitName(name)));
    expect(found.map(({ line }) => line)).toEqual(lines.map(Number));
  });
});

function objectionTo(entries: readonly KnownHost[], key: Buffer): string | undefined {
  return objectToHostKey(judgeShownKey({ entries, withoutPort: [] }, key), 'host')?.message;
}

it.each([false, true])('an entry that was added is found again (hashed: %s)', (hashed) => {
  const line = formatKnownHost(nameOnFile('New.Example', 2222), publicKey('rsa'), hashed);
  const [entry] = parseKnownHosts(line, 'file');
  expect(entry?.key).toBeBytes(publicKey('rsa'));
  expect(line.includes('new.example')).toBe(!hashed);
  expect(entry && speaksOf(entry, 'new.example', 2222)).toBe(true);
  expect(entry && speaksOf(entry, 'new.example', 22)).toBe(false);
});

describe('a host key', () => {
  it('has the fingerprint that ssh-keygen -l prints', () => {
    const fingerprints = ['ed25519', 'ecdsa', 'rsa'].map((name) => fingerprintOf(publicKey(name)));
    expect(fingerprints).toEqual(fixture('fingerprints').trim().split('\n'));
  });

  it.each(['ed25519', 'rsa'])('that is on file is accepted (%s of several)', (type) => {
    expect(judgeHostKey(entriesFor('plain.example'), publicKey(type)).kind).toBe('known');
    expect(objectionTo(entriesFor('plain.example'), publicKey(type))).toBeUndefined();
  });

  it('of a host that is not on file is neither known nor refused', () => {
    const shown = judgeShownKey(
      { entries: entriesFor('new.example', 2222), withoutPort: [] },
      publicKey('rsa'),
    );
    expect(shown.verdict.kind).toBe('unknown');
    expect(objectToHostKey(shown, 'new.example')).toBeNull();
  });

  it('of a host on another port is known if the host without the port is', () => {
    const onFile = { entries: [], withoutPort: entriesFor('plain.example') };
    expect(judgeShownKey(onFile, publicKey('rsa')).verdict.kind).toBe('known');
    // and is no changed one where it is another
    expect(judgeShownKey(onFile, publicKey('other-ed25519')).verdict.kind).toBe('unknown');
  });

  it('that differs from the one on file is refused, with file, line and both fingerprints', () => {
    const shown = publicKey('other-ed25519');
    const entries = entriesFor('plain.example').filter(({ marker }) => marker === null);
    const message = objectionTo(entries, shown);
    expect(message).toContain('known_hosts:2');
    expect(message).toContain(fingerprintOf(shown));
    expect(message).toContain(fingerprintOf(publicKey('ed25519')));
  });

  it('of another type than those on file is treated as a changed one', () => {
    expect(judgeHostKey(entriesFor('one.example'), publicKey('ed25519'))).toMatchObject({
      kind: 'changed',
      entry: { line: 3 },
    });
  });

  it('that is revoked is refused, even if it is on file as well', () => {
    const key = publicKey('other-ed25519');
    const alsoKnown = parseKnownHosts(`twice.example ${fixture('other-ed25519.pub')}`, 'second');
    const entries = [...alsoKnown, ...entriesFor('twice.example')];
    expect(objectionTo(entries, key)).toMatch(/revoked by known_hosts:10/);
  });

  it('of a host that only a certificate authority vouches for is refused by that name', () => {
    const entries = entriesFor('x.ca.example');
    const message = objectionTo(entries, publicKey('ed25519'));
    expect(message).toMatch(/known_hosts:11 trusts it through a certificate authority/);
    // The authority's own key is no host's key.
    expect(judgeHostKey(entries, publicKey('ecdsa')).kind).toBe('authority-only');
  });

  it('is asked for in a type that is on file', () => {
    expect(orderAlgorithms(entriesFor('a.lab.example')).slice(0, 2)).toEqual([
      'rsa-sha2-512',
      'rsa-sha2-256',
    ]);
    expect(orderAlgorithms(entriesFor('one.example'))[0]).toBe('ecdsa-sha2-nistp256');
    expect(orderAlgorithms(entriesFor('new.example'))).toHaveLength(6);
  });
});

it('lines that are not entries are ignored', () => {
  const text = [
    '# comment',
    '',
    'host',
    'host ssh-ed25519',
    'host ssh-rsa !!!',
    '@odd host ssh-rsa AAAA',
  ].join('\n');
  expect(parseKnownHosts(text, 'odd')).toEqual([]);
});
