import { UsageError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';

/** How to reach a far side. `port` is null unless the argument gave one. */
export interface RemoteHost {
  readonly user: string | null;
  readonly host: string;
  readonly port: number | null;
}

/** What a `[HOST:]TARGET` argument says. */
export type TargetSpec =
  | { readonly kind: 'local'; readonly path: string }
  | ({ readonly kind: 'remote'; readonly path: string } & RemoteHost);

/**
 * Splits a `[HOST:]TARGET` argument by scp's rule: HOST is the part before the first colon, if no slash comes before
 * that colon. Also `user@[v6]:TARGET` and `ssh://user@host:port/TARGET`. Nothing is percent-decoded.
 *
 * @throws UsageError on an empty host, user or path, and on a host or user that could be mistaken for something else.
 */
export function parseTargetSpec(word: string): TargetSpec {
  if (word === '') throw new UsageError('the target is an empty argument');
  if (word.startsWith('ssh://')) return parseUrl(word);

  const bracketed = /^(?:([^:/]*)@)?\[([^\]/]*)\]:(.*)$/s.exec(word);
  if (bracketed !== null) {
    const [, user = null, host = '', path = ''] = bracketed;
    return checkRemote(word, { user, host, port: null, path });
  }
  const plain = /^(?:([^:/]*)@)?([^:/]*):(.*)$/s.exec(word);
  if (plain !== null) {
    const [, user = null, host = '', path = ''] = plain;
    return checkRemote(word, { user, host, port: null, path });
  }
  return { kind: 'local', path: word };
}

/** The destination as one argument for ssh and similar programs. */
export function formatRemoteHost(destination: RemoteHost): string {
  return destination.user === null ? destination.host : `${destination.user}@${destination.host}`;
}

function parseUrl(word: string): TargetSpec {
  const parts = /^ssh:\/\/(?:([^/]*)@)?(?:\[([^\]/]*)\]|([^:/@[\]]*))(?::([^/]*))?(\/.*)?$/s.exec(word);
  if (parts === null) throw new UsageError(`${printable(word)}: not of the form ssh://user@host:port/path`);
  const [, user, bracketed, plain, port, path] = parts;
  return checkRemote(word, {
    user: user ?? null,
    host: bracketed ?? plain ?? '',
    port: port === undefined ? null : parsePort(word, port),
    path: path ?? '',
  });
}

function parsePort(word: string, digits: string): number {
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : 0;
  if (port < 1 || port > 65_535) throw new UsageError(`${printable(word)}: the port must be 1 to 65535`);
  return port;
}

function checkRemote(
  word: string,
  { user, host, port, path }: RemoteHost & { readonly path: string },
): TargetSpec {
  const refuse = (problem: string): never => {
    throw new UsageError(`${printable(word)}: ${problem}`);
  };
  if (host === '')
    refuse('the host before the colon is empty; write a local name that contains a colon as ./NAME');
  if (user === '') refuse('the user before the @ is empty');
  if (path === '') refuse('the path on the far side is empty');
  // A host or user such as -oProxyCommand=… would reach an external ssh as an option (CVE-2017-1000117 and similar),
  // and one with shell characters can run through ssh_config's %h and %r (CVE-2023-51385).
  if (host.startsWith('-')) refuse('a host must not begin with a dash');
  if (user?.startsWith('-') === true) refuse('a user must not begin with a dash');
  if (CONTROL.test(word)) refuse('a remote target must not contain control characters');
  if (/[\s'"`$\\;&<>|(){}]/.test(host))
    refuse('the host contains a character that is not allowed in a host name');
  if (user !== null && /[\s'"`$;&<>|(){}]|\\$/.test(user)) {
    refuse('the user contains a character that is not allowed in a user name');
  }
  return { kind: 'remote', user, host, port, path };
}

const CONTROL = /\p{Cc}/u;

function printable(word: string): string {
  return CONTROL.test(word) ? JSON.stringify(word) : word;
}

/** Tells the user if a target is larger than the volume that it is to equal. A size is null if it is not known. */
export function tellLarger(
  target: string,
  targetSize: number | null,
  volumeSize: number | null,
  { notice }: Pick<Surroundings, 'notice'>,
): void {
  if (targetSize === null || volumeSize === null || targetSize <= volumeSize) return;
  const sizes = `it has ${targetSize} bytes, the volume has ${volumeSize}`;
  notice(`${target} is larger than the volume: ${sizes}; the bytes after that stay as they are`);
}

/** A target, as the user of the sending side writes it. */
export function nameOfTarget(spec: TargetSpec): string {
  return spec.kind === 'local' ? spec.path : `${formatRemoteHost(spec)}:${spec.path}`;
}
