import { readFile } from 'node:fs/promises';
import ssh2, { type ParsedKey } from 'ssh2';
import type { Prompter } from './settings.js';

/** How many times to ask for a passphrase, as in ssh. */
const TRIES = 3;

/** Opens identity files, and asks for their passphrases. */
export interface KeyOpener {
  /** A file's private key; null if it stayed locked. */
  open(file: KeyFile): Promise<ParsedKey | null>;
  /** One phrase for each file that stayed locked. */
  readonly problems: readonly string[];
}

/** Makes an opener that never asks if `prompter` is null. Right passphrases go into `remembered`. */
export function createKeyOpener(
  prompter: Prompter | null,
  remembered: Map<string, string>,
  signal: AbortSignal,
): KeyOpener {
  const problems: string[] = [];
  const refuse = (file: KeyFile, problem: string): null => {
    problems.push(`${file.path} ${problem}`);
    return null;
  };
  return {
    problems,
    open: async (file) => {
      if (file.privateKey !== 'locked') return file.privateKey;
      const slot = `the passphrase of ${file.path}`;
      const known = remembered.get(slot);
      const key = known === undefined ? null : unlockKey(file, known);
      if (key !== null) return key;
      if (prompter === null) {
        return refuse(
          file,
          'needs a passphrase, and there is no one to ask: load it into an agent (ssh-add)',
        );
      }
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const again = attempt === 0 ? '' : 'Wrong passphrase, try again.\n';
        const question = `${again}Enter passphrase for key '${file.path}': `;
        const passphrase = await prompter.ask(question, { echo: false, signal });
        if (passphrase === null || passphrase === '')
          return refuse(file, 'stayed locked: no passphrase was given');
        const opened = unlockKey(file, passphrase);
        if (opened === null) continue;
        remembered.set(slot, passphrase);
        return opened;
      }
      return refuse(file, `stayed locked: the passphrase was wrong ${TRIES} times`);
    },
  };
}

/** A key of an identity file, as far as it can be read without its passphrase. */
export interface KeyFile {
  readonly path: string;
  /** Null if the passphrase protects that, too. */
  readonly publicKey: ParsedKey | null;
  /** The private key, ready or still locked; null if only the public half is here, and an agent has the other. */
  readonly privateKey: ParsedKey | 'locked' | null;
  /** The file's contents, for unlocking it. */
  readonly text: string;
}

/** What the identity files hold: keys to offer, and why the other files have no usable key. */
export interface KeyFiles {
  readonly usable: readonly KeyFile[];
  /** One phrase for each file that exists and has no usable key. */
  readonly unusable: readonly string[];
}

/** Reads keys from identity files; files that do not exist are skipped. */
export async function readKeyFiles(paths: readonly string[]): Promise<KeyFiles> {
  const usable: KeyFile[] = [];
  const unusable: string[] = [];
  for (const path of paths) {
    const key = await readKeyFile(path);
    if (key === null) continue;
    if ('problem' in key) unusable.push(`${path} ${key.problem}`);
    else usable.push(key);
  }
  return { usable, unusable };
}

interface Unusable {
  readonly problem: string;
}

async function readKeyFile(path: string): Promise<KeyFile | Unusable | null> {
  const text = await readText(path);
  if (typeof text !== 'string') {
    const publicKey = text === null ? await readPublicHalf(path) : null;
    return publicKey === null ? text : { path, publicKey, privateKey: null, text: '' };
  }
  const parsed = parseKey(text);
  if (!(parsed instanceof Error)) {
    return { path, publicKey: parsed, privateKey: parsed.isPrivateKey() ? parsed : null, text };
  }
  // The PEM formats say it in their header, the OpenSSH format only inside.
  const locked = text.includes('ENCRYPTED') || parsed.message.includes('passphrase');
  if (!locked) return { problem: 'is not a key that lvmsync can use' };
  return { path, publicKey: readOutside(text) ?? (await readPublicHalf(path)), privateKey: 'locked', text };
}

/** Unlocks a key; null if the passphrase is wrong. An OpenSSH key takes some tenths of a second. */
export function unlockKey({ text }: KeyFile, passphrase: string): ParsedKey | null {
  const parsed = parseKey(text, passphrase);
  return parsed instanceof Error || !parsed.isPrivateKey() ? null : parsed;
}

async function readText(path: string): Promise<string | Unusable | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    return { problem: `cannot be read (${String(code)})` };
  }
}

async function readPublicHalf(path: string): Promise<ParsedKey | null> {
  const text = await readText(`${path}.pub`);
  const parsed = typeof text === 'string' ? parseKey(text) : null;
  return parsed instanceof Error ? null : parsed;
}

function parseKey(text: string, passphrase?: string): ParsedKey | Error {
  const parsed: unknown = ssh2.utils.parseKey(text, passphrase);
  if (parsed instanceof Error) return parsed;
  return (Array.isArray(parsed) ? parsed[0] : parsed) as ParsedKey;
}

/**
 * The unencrypted public key in a locked key of OpenSSH's own format: "openssh-key-v1" and a NUL, cipher, key
 * derivation, its options, the number of keys, the first public key (OpenSSH's PROTOCOL.key).
 */
function readOutside(text: string): ParsedKey | null {
  const [, base64] = /-----BEGIN OPENSSH PRIVATE KEY-----([^-]*)-----END/.exec(text) ?? [];
  if (base64 === undefined) return null;
  const bytes = Buffer.from(base64, 'base64');
  let at = 'openssh-key-v1\0'.length;
  const next = (): Buffer | null => {
    if (at + 4 > bytes.length) return null;
    const length = bytes.readUInt32BE(at);
    at += 4 + length;
    return at > bytes.length ? null : bytes.subarray(at - length, at);
  };
  const before = [next(), next(), next()];
  at += 4;
  const key = next();
  if (before.includes(null) || key === null || key.length < 4) return null;
  const type = key.toString('latin1', 4, 4 + key.readUInt32BE(0));
  const parsed = parseKey(`${type} ${key.toString('base64')}`);
  return parsed instanceof Error ? null : parsed;
}
