import { createHash, createHmac, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ServerHostKeyAlgorithm } from 'ssh2';
import { describeCause, TransportError } from '../../errors.js';
import type { HostConfig } from './host-config.js';

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

/** What the known_hosts files say about a host. */
export interface HostsOnFile {
  readonly entries: readonly KnownHost[];
  /** The entries for the host's name alone, if its port is not ssh's default port. */
  readonly withoutPort: readonly KnownHost[];
}

/** Reads what the known_hosts files say about a host: by its alias if it has one, or else by its real name and port. */
export async function readKnownHosts(config: HostConfig): Promise<HostsOnFile> {
  const { hostName, port, hostKeyAlias } = config;
  const all: KnownHost[] = [];
  for (const file of [...config.userKnownHosts, ...config.globalKnownHosts]) {
    all.push(...parseKnownHosts(await readIfThere(file), file));
  }
  const of = (name: string, namePort: number) => all.filter((entry) => speaksOf(entry, name, namePort));
  if (hostKeyAlias !== null) return { entries: of(hostKeyAlias, 22), withoutPort: [] };
  return { entries: of(hostName, port), withoutPort: port === 22 ? [] : of(hostName, 22) };
}

async function readIfThere(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) {
      return '';
    }
    // An entry that cannot be read could be one that revokes a key.
    throw new TransportError(`${file}: cannot be read: ${describeCause(cause)}`, { cause });
  }
}

/** Without SHA-1 signatures (`ssh-rsa`) and DSA, as in OpenSSH since 8.8. */
const ALGORITHMS: readonly (readonly [keyType: string, algorithm: ServerHostKeyAlgorithm])[] = [
  ['ssh-ed25519', 'ssh-ed25519'],
  ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp256'],
  ['ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp384'],
  ['ecdsa-sha2-nistp521', 'ecdsa-sha2-nistp521'],
  ['ssh-rsa', 'rsa-sha2-512'],
  ['ssh-rsa', 'rsa-sha2-256'],
];

/** Host key algorithms, first those for which a key is on file: a host has several keys and shows only one. */
export function orderAlgorithms(entries: readonly KnownHost[]): ServerHostKeyAlgorithm[] {
  const onFile = new Set(entries.filter(({ marker }) => marker === null).map(({ key }) => keyTypeOf(key)));
  const rank = (keyType: string): number => (onFile.has(keyType) ? 0 : 1);
  return ALGORITHMS.toSorted(([a], [b]) => rank(a) - rank(b)).map(([, algorithm]) => algorithm);
}

/** A host key that a server showed, and what the files say about it. */
export interface ShownKey {
  readonly key: Buffer;
  readonly verdict: HostKeyVerdict;
  /** Type and fingerprint. */
  readonly text: string;
}

/** Looks up the key that a host showed in the known_hosts files. */
export function judgeShownKey(onFile: HostsOnFile, key: Buffer): ShownKey {
  const text = `${keyTypeOf(key)} ${fingerprintOf(key)}`;
  const verdict = judgeHostKey(onFile.entries, key);
  // OpenSSH too accepts on another port the key that is on file for the host's default port.
  const known = verdict.kind === 'unknown' && judgeHostKey(onFile.withoutPort, key).kind === 'known';
  return { key, text, verdict: known ? { kind: 'known' } : verdict };
}

/** Why a host's key cannot be trusted, whatever the user says: one sentence with what to do. */
export function objectToHostKey({ verdict, text }: ShownKey, host: string): TransportError | null {
  switch (verdict.kind) {
    case 'known':
    case 'unknown':
      return null;
    case 'revoked':
      return new TransportError(`${host}: its host key ${text} is revoked by ${where(verdict.entry)}`);
    case 'authority-only':
      return new TransportError(
        `${host}: ${where(verdict.entry)} trusts it through a certificate authority, which lvmsync cannot check; ` +
          `add the host key ${text} itself to known_hosts, or use --rsh ssh`,
      );
    case 'changed':
      return new TransportError(
        `${host}: remote host identification has changed: it showed ${text}, but ${where(verdict.entry)} has ` +
          `${keyTypeOf(verdict.entry.key)} ${fingerprintOf(verdict.entry.key)}; someone may be eavesdropping on you, ` +
          `or the host was reinstalled: make sure which before you change that line`,
      );
  }
}

function where(entry: KnownHost): string {
  return `${entry.file}:${entry.line}`;
}
