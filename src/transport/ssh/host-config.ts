import { createHash } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { TransportError } from '../../errors.js';
import type { RemoteHost } from '../target-spec.js';
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

/**
 * The part of the configuration that applies to a host: keywords in lower case, each with its values in their order.
 */
export type ConfigWords = ReadonlyMap<string, readonly string[]>;

/** Where the words come from. */
export interface ConfigSource {
  readonly words: ConfigWords;
  /** Whether `~` and tokens are expanded already; `ssh -G` expands them everywhere but in IdentityFile. */
  readonly isExpanded: boolean;
  /** The value of Ciphers if nothing configures it. */
  readonly defaultCiphers?: string | undefined;
}

/** A command line for a shell, with tokens expanded. */
export type Proxy =
  /** A command line for a shell, tokens expanded. */
  | { readonly kind: 'command'; readonly command: string }
  /** Hosts to go through, the nearest first. */
  | { readonly kind: 'jump'; readonly hops: readonly string[] };

/** A host as the user's ssh configuration describes it. */
export interface HostConfig extends TokenValues {
  /** As the user wrote it, for messages. */
  readonly name: string;
  /** 4 or 6 if only that kind of address is allowed, else 0. */
  readonly family: 0 | 4 | 6;
  readonly proxy: Proxy | null;
  readonly identityFiles: readonly string[];
  /** Offer only the keys of `identityFiles`, even if the agent has others. */
  readonly identitiesOnly: boolean;
  readonly agentSocket: string | null;
  readonly methods: {
    readonly publickey: boolean;
    readonly password: boolean;
    readonly keyboardInteractive: boolean;
  };
  readonly passwordPrompts: number;
  /** New keys are added to the first. */
  readonly userKnownHosts: readonly string[];
  readonly globalKnownHosts: readonly string[];
  readonly strictness: 'yes' | 'ask' | 'accept-new';
  readonly hashNames: boolean;
  readonly batch: boolean;
  /** The ciphers that the user wants; null if the user left the choice to the program. */
  readonly ciphers: readonly string[] | null;
  readonly connectTimeoutMs: number;
  readonly keepaliveIntervalMs: number;
  /** How many probes in a row may stay unanswered before the connection counts as dead. */
  readonly keepaliveCount: number;
}

/**
 * Reads the configuration of one host. What it does not set has OpenSSH's default.
 *
 * @throws TransportError on a setting that must not be ignored.
 */
export function readHostConfig(
  destination: RemoteHost,
  { words, isExpanded, defaultCiphers }: ConfigSource,
  settings: SshSettings,
): HostConfig {
  const first = (keyword: string): string | undefined => words.get(keyword)?.[0];
  const isOn = (keyword: string, otherwise: boolean): boolean => {
    const word = first(keyword);
    return word === undefined ? otherwise : word === 'yes' || word === 'true';
  };
  const number = (keyword: string, otherwise: number): number => {
    const word = first(keyword);
    return word !== undefined && /^\d{1,9}$/.test(word) ? Number(word) : otherwise;
  };
  const orNone = (word: string | undefined): string | null =>
    word === undefined || word.toLowerCase() === 'none' ? null : word;

  const values: TokenValues = {
    name: destination.host,
    hostName: first('hostname') ?? destination.host,
    port: destination.port ?? number('port', 22),
    user: destination.user ?? first('user') ?? settings.user,
    hostKeyAlias: orNone(first('hostkeyalias')),
  };
  if (orNone(first('revokedhostkeys')) !== null) {
    throw new TransportError(
      `${values.name}: the ssh configuration sets RevokedHostKeys, which lvmsync does not read: use --rsh ssh, ` +
        `or add the keys to known_hosts as @revoked`,
    );
  }
  const files = defaultFiles(settings.home);
  const expand = (path: string): string => expandPath(path, values, settings);
  const pathsOf = (keyword: string, otherwise: readonly string[]): string[] => {
    const list = (words.get(keyword)?.flatMap(splitPaths) ?? otherwise).filter(
      (path) => orNone(path) !== null,
    );
    return isExpanded ? list : list.map(expand);
  };
  const family = first('addressfamily');
  const ciphers = first('ciphers');

  return {
    ...values,
    family: family === 'inet' ? 4 : family === 'inet6' ? 6 : 0,
    proxy: readProxy(
      orNone(first('proxycommand')),
      orNone(first('proxyjump')),
      isOn('proxyusefdpass', false),
      values,
    ),
    identityFiles: (words.get('identityfile') ?? files.identityFiles)
      .filter((path) => orNone(path) !== null)
      .map(expand),
    identitiesOnly: isOn('identitiesonly', false),
    agentSocket: readAgentSocket(first('identityagent'), settings, isExpanded ? (path) => path : expand),
    methods: {
      publickey: first('pubkeyauthentication') !== 'no' && first('pubkeyauthentication') !== 'false',
      password: isOn('passwordauthentication', true),
      keyboardInteractive: isOn('kbdinteractiveauthentication', true),
    },
    passwordPrompts: number('numberofpasswordprompts', 3),
    userKnownHosts: pathsOf('userknownhostsfile', files.userKnownHosts),
    globalKnownHosts: pathsOf('globalknownhostsfile', files.globalKnownHosts),
    strictness: readStrictness(first('stricthostkeychecking')),
    hashNames: isOn('hashknownhosts', false),
    batch: isOn('batchmode', false),
    ciphers: isChosen(ciphers, defaultCiphers) ? ciphers.split(',') : null,
    connectTimeoutMs: number('connecttimeout', 0) * 1000 || settings.connectTimeoutMs,
    keepaliveIntervalMs: number('serveraliveinterval', 0) * 1000 || settings.keepaliveIntervalMs,
    keepaliveCount: number('serveralivecountmax', 3) || 3,
  };
}

/** A list that begins with a sign changes the default list, which only the OpenSSH client knows. */
function isChosen(ciphers: string | undefined, defaultCiphers: string | undefined): ciphers is string {
  return ciphers !== undefined && ciphers !== defaultCiphers && !/^[-+^]/.test(ciphers);
}

/** `ssh -G` prints several paths on one line, separated by spaces and without quotes. */
function splitPaths(line: string): string[] {
  return line.split(/ (?=[/~]|none$)/);
}

function readProxy(
  command: string | null,
  jump: string | null,
  passesDescriptor: boolean,
  values: TokenValues,
): Proxy | null {
  if (command !== null) {
    if (passesDescriptor) {
      throw new TransportError(
        `${values.name}: the built-in ssh does not support ProxyUseFdpass: use --rsh ssh`,
      );
    }
    return { kind: 'command', command: expandProxyCommand(command, values) };
  }
  return jump === null ? null : { kind: 'jump', hops: jump.split(',').map((hop) => hop.trim()) };
}

function readAgentSocket(
  word: string | undefined,
  settings: SshSettings,
  expand: (path: string) => string,
): string | null {
  if (word === undefined || word === 'SSH_AUTH_SOCK') return settings.agentSocket;
  if (word.toLowerCase() === 'none') return null;
  if (/^\$\w+$/.test(word)) return settings.environment[word.slice(1)] ?? null;
  return expand(word);
}

/** `no` accepts unknown keys without a question, as in OpenSSH; unlike OpenSSH, it does not accept a changed key. */
function readStrictness(word: string | undefined): HostConfig['strictness'] {
  switch (word) {
    case 'yes':
    case 'true':
      return 'yes';
    case 'no':
    case 'false':
    case 'off':
    case 'accept-new':
      return 'accept-new';
    default:
      return 'ask';
  }
}
