import { createHash } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { TransportError } from '../../errors.js';
import type { SshSettings } from './settings.js';

/** The values of the tokens of ssh_config(5). */
export interface TokenValues {
  /** The host as the user wrote it. */
  readonly name: string;
  readonly hostName: string;
  readonly port: number;
  readonly user: string;
  readonly hostKeyAlias: string | null;
}

/** Expands a path as OpenSSH does for IdentityFile and similar options: `~`, `%` tokens, `${NAME}`. */
export function expandPath(path: string, values: TokenValues, settings: SshSettings): string {
  const atHome = path.replace(/^~(?=\/|$)/, () => settings.home);
  const expanded = expandTokens(atHome, pathTokens(values, settings), values.name);
  return expanded.replace(/\$\{(\w+)\}/g, (_, name: string) => {
    const value = settings.environment[name];
    if (value === undefined) {
      throw new TransportError(
        `${values.name}: the ssh configuration uses ${path}, but ${name} is not set in the environment`,
      );
    }
    return value;
  });
}

function pathTokens(values: TokenValues, { home, user }: SshSettings): Readonly<Record<string, string>> {
  const { name, hostName, port, user: farUser, hostKeyAlias } = values;
  const local = hostname();
  return {
    ...{ h: hostName, n: name, p: String(port), r: farUser, k: hostKeyAlias ?? name, j: '' },
    ...{ d: home, u: user, i: String(userInfo().uid), l: local, L: local.replace(/\..*$/s, '') },
    C: createHash('sha1').update(`${local}${hostName}${port}${farUser}`).digest('hex'),
  };
}

/**
 * Expands ProxyCommand for the shell that runs it. The parts that come from the command line must be harmless there: a
 * host or user with shell characters is refused (CVE-2023-51385).
 */
export function expandProxyCommand(command: string, values: TokenValues): string {
  const { name, hostName, port, user } = values;
  const tokens = { h: hostName, n: name, p: String(port), r: user };
  for (const [token, value] of Object.entries(tokens)) {
    const isUsed = command.includes(`%${token}`);
    if (isUsed && !/^(?!-)[\p{L}\p{N}_.:@+\-%[\]]+$/u.test(value)) {
      throw new TransportError(
        `${name}: ProxyCommand would pass ${JSON.stringify(value)} to a shell: use --rsh ssh if you want that`,
      );
    }
  }
  return expandTokens(command, tokens, name);
}

function expandTokens(text: string, tokens: Readonly<Record<string, string>>, host: string): string {
  return text.replace(/%(.?)/gs, (token, letter: string) => {
    if (letter === '%') return '%';
    const value = tokens[letter];
    if (value === undefined) {
      throw new TransportError(
        `${host}: the ssh configuration uses ${text}, and lvmsync does not support ${token} there: use --rsh ssh`,
      );
    }
    return value;
  });
}

/** The files that OpenSSH uses by default. */
export function defaultFiles(home: string) {
  const inHome = (name: string): string => join(home, '.ssh', name);
  return {
    identityFiles: ['id_rsa', 'id_ecdsa', 'id_ed25519'].map(inHome),
    userKnownHosts: ['known_hosts', 'known_hosts2'].map(inHome),
    globalKnownHosts: ['/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2'],
  };
}
