import { InvalidArgumentError, Option, type Command, type OptionValues } from '@commander-js/extra-typings';
import { UsageError } from '../../errors.js';
import type { Reach } from '../../reach/far-side.js';
import { DEFAULT_RETRIES } from '../../reach/retry.js';
import { splitWords } from '../../transport/shell-words.js';
import type { Context } from '../context.js';

/* How other hosts are reached. */

const GROUP = 'Connection to HOST:';

/** The parsed options of a command that starts a far side. */
export interface ReachOptions {
  readonly rsh?: string | undefined;
  readonly remotePath?: string | undefined;
  readonly sudo?: true | undefined;
  readonly remotePrefix?: string | undefined;
  readonly batch?: true | undefined;
  readonly retry?: number | undefined;
}

/** Adds the options of a command that starts a far side. */
export function withReach<Args extends unknown[], Opts extends OptionValues>(command: Command<Args, Opts>) {
  return command
    .optionsGroup(GROUP)
    .option('-e, --rsh <command>', 'reach HOST with this command instead of the built-in ssh')
    .option('--remote-path <path>', 'path of lvmsync on HOST, if it is not in the PATH there')
    .option('--sudo', 'run lvmsync on HOST through sudo, which must not ask for a password')
    .option('--remote-prefix <words>', 'command to put before lvmsync on HOST, such as "nice -n 10"')
    .option('--batch', 'never prompt for a password, a passphrase or an unknown host key: fail instead');
}

/** For the commands that can continue over a new connection. */
export const retryOption = () =>
  new Option(
    '--retry <n>',
    `if the connection breaks, reconnect and continue, up to N times in a row (default: ${DEFAULT_RETRIES})`,
  )
    .argParser(parseRetries)
    .helpGroup(GROUP);

/** How to reach other hosts, according to the options. Throws UsageError. */
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

/** The path is quoted for the far shell, which therefore expands nothing in it. */
function checkRemotePath(path: string): string {
  if (path === '' || path.startsWith('-'))
    throw new UsageError(`--remote-path ${path}: not the path of a program`);
  if (path.startsWith('~')) {
    throw new UsageError(`--remote-path ${path}: ~ is not expanded on the other host: write the full path`);
  }
  return path;
}

function parseRetries(value: string): number {
  if (/^\d{1,4}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('Expected a number from 0 to 9999.');
}
