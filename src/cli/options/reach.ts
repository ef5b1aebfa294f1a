import { InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import type { Reach } from '../../reach/far-side.js';
import { DEFAULT_RETRIES } from '../../reach/retry.js';
import { splitWords } from '../../transport/shell-words.js';
import type { Context } from '../context.js';

/*
 * How other hosts are reached: each option defined once, for every command that starts a far side.
 */

/** The options of whoever starts a far side, as parsed. */
export interface ReachOptions {
  readonly rsh?: string | undefined;
  readonly remotePath?: string | undefined;
  readonly sudo?: true | undefined;
  readonly remotePrefix?: string | undefined;
  readonly batch?: true | undefined;
  readonly retry?: number | undefined;
}

/** An external remote shell in place of the built-in ssh. */
export const rshOption = () =>
  new Option('-e, --rsh <command>', 'reach HOST with this command instead of the built-in ssh');

export const remotePathOption = () =>
  new Option('--remote-path <path>', 'where lvmsync lies on HOST, if not in its PATH');

export const sudoOption = () => new Option('--sudo', 'run lvmsync on HOST through sudo, without a password');

export const remotePrefixOption = () =>
  new Option('--remote-prefix <words>', 'words before the command on HOST, such as "nice -n 10"');

export const batchOption = () =>
  new Option('--batch', 'ask for nothing: no password, no passphrase, no unknown host key');

export const retryOption = () =>
  new Option(
    '--retry <n>',
    `when the line breaks, connect again and go on, up to N times in a row (${DEFAULT_RETRIES})`,
  ).argParser(parseRetries);

/** What was given of these options, by their flags: none of it makes sense where nothing is started on another host. */
export function givenReach(options: ReachOptions): Record<string, unknown> {
  return {
    '--rsh': options.rsh,
    '--remote-path': options.remotePath,
    '--sudo': options.sudo,
    '--remote-prefix': options.remotePrefix,
    '--batch': options.batch,
    '--retry': options.retry,
  };
}

/** How the options ask other hosts to be reached. Throws UsageError. */
export function reachOf(options: ReachOptions, context: Context): Reach {
  const { rsh, remotePrefix: prefix } = options;
  return {
    rsh: rsh === undefined ? null : splitWords('--rsh', rsh),
    ssh: context.ssh(options.batch === true),
    command: {
      prefix: prefix === undefined ? [] : splitWords('--remote-prefix', prefix),
      sudo: options.sudo === true,
      path: options.remotePath === undefined ? null : checkRemotePath(options.remotePath),
    },
    retries: options.retry ?? DEFAULT_RETRIES,
  };
}

/** The far shell gets the path in quotes: nothing in it is expanded. */
function checkRemotePath(path: string): string {
  if (path === '' || path.startsWith('-'))
    throw new UsageError(`--remote-path ${path}: not the path of a program`);
  if (path.startsWith('~')) {
    throw new UsageError(`--remote-path ${path}: ~ is not expanded there; write the path from / on`);
  }
  return path;
}

function parseRetries(value: string): number {
  if (/^\d{1,4}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('it is how often to try again: 0 to 9999.');
}
