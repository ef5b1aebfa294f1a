import { TransportError } from '../../errors.js';
import type { RemoteHost } from '../target-spec.js';
import type { SshSettings } from './settings.js';
import { defaultFiles, expandPath, expandProxyCommand, type TokenValues } from './tokens.js';

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
