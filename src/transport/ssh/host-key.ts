import { readFile } from 'node:fs/promises';
import type { ServerHostKeyAlgorithm } from 'ssh2';
import { describeCause, TransportError } from '../../errors.js';
import type { HostConfig } from './host-config.js';
import {
  fingerprintOf,
  judgeHostKey,
  keyTypeOf,
  parseKnownHosts,
  speaksOf,
  type HostKeyVerdict,
  type KnownHost,
} from './known-hosts.js';

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
