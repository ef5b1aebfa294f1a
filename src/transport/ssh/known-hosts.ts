import { createHash, createHmac, randomBytes } from 'node:crypto';

/** One entry of a known_hosts file; sshd(8) describes the format under SSH_KNOWN_HOSTS FILE FORMAT. */
export interface KnownHost {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  readonly marker: 'revoked' | 'cert-authority' | null;
  /** The comma list of patterns, or one hashed name. */
  readonly hosts: string;
  /** The public key in its wire format. */
  readonly key: Buffer;
}

/** Reads the text of a known_hosts file. Lines that are not entries are skipped, as in OpenSSH. */
export function parseKnownHosts(text: string, file: string): KnownHost[] {
  return text.split('\n').flatMap((content, index) => {
    const entry = parseEntry(content.trim());
    return entry === null ? [] : [{ file, line: index + 1, ...entry }];
  });
}

function parseEntry(content: string): Pick<KnownHost, 'marker' | 'hosts' | 'key'> | null {
  if (content === '' || content.startsWith('#')) return null;
  const fields = content.split(/[ \t]+/);
  const marker = content.startsWith('@') ? fields.shift() : undefined;
  if (marker !== undefined && marker !== '@revoked' && marker !== '@cert-authority') return null;

  const [hosts, keyType, base64] = fields;
  if (hosts === undefined || keyType === undefined || base64 === undefined) return null;
  const key = Buffer.from(base64, 'base64');
  if (keyTypeOf(key) !== keyType) return null;
  return {
    marker: marker === undefined ? null : marker === '@revoked' ? 'revoked' : 'cert-authority',
    hosts,
    key,
  };
}

/** Whether an entry applies to a host, by the name that the user gave. */
export function speaksOf(entry: KnownHost, host: string, port: number): boolean {
  const name = nameOnFile(host, port);
  if (entry.hosts.startsWith('|')) return matchesHashed(entry.hosts, name);

  let matched = false;
  for (const pattern of entry.hosts.toLowerCase().split(',')) {
    const negated = pattern.startsWith('!');
    if (!matchesPattern(negated ? pattern.slice(1) : pattern, name)) continue;
    // A negated match wins over all others of its line.
    if (negated) return false;
    matched = true;
  }
  return matched;
}

/** A host's name in these files: the port is part of it unless it is 22. */
export function nameOnFile(host: string, port: number): string {
  return (port === 22 ? host : `[${host}]:${port}`).toLowerCase();
}

/** One line of such a file for this host and key; the name is hashed if `hashed` is set. */
export function formatKnownHost(name: string, key: Buffer, hashed: boolean): string {
  const salt = randomBytes(20);
  const hosts = hashed ? `|1|${salt.toString('base64')}|${hashName(salt, name).toString('base64')}` : name;
  return `${hosts} ${keyTypeOf(key)} ${key.toString('base64')}\n`;
}

function hashName(salt: Buffer, name: string): Buffer {
  return createHmac('sha1', salt).update(name).digest();
}

/** `|1|base64 salt|base64 HMAC-SHA1(salt, name)`: what HashKnownHosts writes. */
function matchesHashed(hosts: string, name: string): boolean {
  const [, version, salt, digest] = hosts.split('|');
  if (version !== '1' || salt === undefined || digest === undefined) return false;
  const expected = Buffer.from(digest, 'base64');
  return hashName(Buffer.from(salt, 'base64'), name).equals(expected);
}

function matchesPattern(pattern: string, name: string): boolean {
  const source = pattern.replace(/[^*?]/gu, escapeForRegExp).replace(/\*+/g, '.*').replaceAll('?', '.');
  return new RegExp(`^${source}$`, 'su').test(name);
}

function escapeForRegExp(character: string): string {
  return /[a-z0-9]/.test(character) ? character : `\\u{${character.codePointAt(0)?.toString(16) ?? ''}}`;
}

/** What the entries for a host say about the key that it showed. */
export type HostKeyVerdict =
  | { readonly kind: 'known' }
  | { readonly kind: 'revoked'; readonly entry: KnownHost }
  | { readonly kind: 'changed'; readonly entry: KnownHost }
  | { readonly kind: 'authority-only'; readonly entry: KnownHost }
  | { readonly kind: 'unknown' };

/** Judges a key by the entries for its host: only a key that is on file is known. */
export function judgeHostKey(entries: readonly KnownHost[], key: Buffer): HostKeyVerdict {
  const same = (entry: KnownHost): boolean => entry.key.equals(key);
  const revoked = entries.find((entry) => entry.marker === 'revoked' && same(entry));
  if (revoked !== undefined) return { kind: 'revoked', entry: revoked };

  const plain = entries.filter((entry) => entry.marker === null);
  if (plain.some(same)) return { kind: 'known' };
  const changed = plain.find((entry) => keyTypeOf(entry.key) === keyTypeOf(key)) ?? plain[0];
  if (changed !== undefined) return { kind: 'changed', entry: changed };

  const authority = entries.find((entry) => entry.marker === 'cert-authority');
  return authority === undefined ? { kind: 'unknown' } : { kind: 'authority-only', entry: authority };
}

/** The key's type, which is its first field, such as `ssh-ed25519`; empty if the bytes are not a key. */
export function keyTypeOf(key: Buffer): string {
  if (key.length < 4) return '';
  const length = key.readUInt32BE(0);
  return length > key.length - 4 ? '' : key.toString('latin1', 4, 4 + length);
}

/** The key's fingerprint as ssh-keygen -l prints it. */
export function fingerprintOf(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;
}
