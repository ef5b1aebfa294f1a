import { FarError, FarSideError, LineError, TransportError, type LvmsyncError } from '../errors.js';
import type { FarCommand } from './remote-command.js';
import { makeHarmless } from './stderr-lines.js';
import type { FarExit } from './transport.js';

/** The exit statuses of an external ssh, and of our far side, after a broken connection. */
const STATUS_OF_BROKEN_SSH = 255;
const STATUS_OF_BROKEN_LINE = 9;

/** A far side that ended without a report, and what is known about it. */
export interface SilentEnd {
  readonly host: string;
  /** `rsh` if an external command carried the bytes: its own failures show up as exit statuses too. */
  readonly carrier: 'ssh2' | 'rsh';
  readonly exit: FarExit;
  /** The last lines of the far side's stderr. */
  readonly heard: readonly string[];
  /** Whether the user has already seen these lines. */
  readonly isShown: boolean;
  readonly command: FarCommand;
  /** The version of this side. */
  readonly version: string;
}

/** What went wrong over there, judging by the exit status and by what sudo said. */
export type FarFault =
  | 'sudo refused'
  | 'sudo wants a terminal'
  | 'sudo is missing'
  | 'missing'
  | 'no node'
  | 'not executable'
  | 'words refused'
  | 'failed';

/** What a far side reports about itself when it is asked again. A field is null if it did not answer. */
export interface FarFacts {
  /** Its lvmsync's version. */
  readonly version: string | null;
  /** The user there, and the path of lvmsync, for sudoers. */
  readonly user: string | null;
  readonly program: string | null;
}

export const UNKNOWN_FACTS: FarFacts = { version: null, user: null, program: null };

/** Works out from the exit status and stderr why a command did not start or failed. */
export function judgeFarExit({ exit: { status }, heard, command }: SilentEnd): FarFault {
  const says = (pattern: RegExp) => heard.some((line) => pattern.test(line));
  if (command.sudo && status === 1) {
    if (says(/^sudo: .*\btty\b/)) return 'sudo wants a terminal';
    if (says(/^sudo: .*command not found/)) return 'missing';
    if (says(/^(sudo: .*(password|not (in|allowed|permitted))|Sorry, user )/)) return 'sudo refused';
  }
  if (status === 127) {
    if (command.sudo && says(/\bsudo\b.*(not found|No such file)/)) return 'sudo is missing';
    return says(/\bnode\b['’]?: /) ? 'no node' : 'missing';
  }
  if (status === 126) return 'not executable';
  return status === 2 ? 'words refused' : 'failed';
}

/** The one error that says why a far side ended without a report. */
export function explainFarExit(end: SilentEnd, facts: FarFacts = UNKNOWN_FACTS): LvmsyncError {
  const { host, command, exit } = end;
  const said = end.isShown || end.heard.length === 0 ? '' : `; it said: ${end.heard.join('; ')}`;
  const name = command.path ?? 'lvmsync';
  const farSide = (problem: string) => new FarSideError(`${host}: ${problem}${said}`);
  switch (judgeFarExit(end)) {
    case 'sudo refused':
      return new FarError('COMMAND', host, `${adviseSudoers(command, facts)}${said}`);
    case 'sudo wants a terminal': {
      const user = facts.user ?? 'USER';
      const line = `Defaults:${user} !requiretty`;
      return new FarError(
        'COMMAND',
        host,
        `sudo requires a terminal there; add this line to its sudoers file: ${line}${said}`,
      );
    }
    case 'sudo is missing':
      return new FarError(
        'COMMAND',
        host,
        `sudo is not installed there: install it, or log in as root${said}`,
      );
    case 'missing':
      return farSide(`${name} was not found; ${adviseInstall(end)}${whereItIsSought(command)}`);
    case 'no node':
      return farSide(
        `${name} is installed there, but node was not found: Node 20.19 or newer must be in the PATH there`,
      );
    case 'not executable':
      return farSide(
        `${name} is installed there, but cannot be executed; check its permissions and its Node`,
      );
    case 'words refused':
      return farSide(
        `the far side did not accept the command line it was given: ${describeVersions(end, facts)}`,
      );
    case 'failed':
      if (exit.status !== null && isOlder(facts.version, end.version)) {
        return farSide(describeVersions(end, facts));
      }
      return endWithoutReport(end, said);
  }
}

function endWithoutReport(end: SilentEnd, said: string): TransportError {
  const message = `${end.host}: ${describeEnd(end)}${said}`;
  const { status, signal } = end.exit;
  const isLine =
    (status === null && signal === null) ||
    status === STATUS_OF_BROKEN_LINE ||
    (status === STATUS_OF_BROKEN_SSH && end.carrier === 'rsh');
  return isLine ? new LineError(message) : new TransportError(message);
}

function describeEnd({ exit: { status, signal, problem }, carrier }: SilentEnd): string {
  if (signal !== null) return `the far side was killed by ${signal}`;
  if (status === null) {
    return `the connection broke before the far side reported a result${problem === undefined ? '' : `: ${problem}`}`;
  }
  if (status === 0) return 'the far side ended without reporting a result';
  if (status === STATUS_OF_BROKEN_SSH && carrier === 'rsh')
    return 'the remote shell command failed (exit status 255)';
  return `the far side ended with status ${status} and no report`;
}

function describeVersions(end: SilentEnd, { version }: FarFacts): string {
  if (version === null) return `its lvmsync is probably too old; ${adviseInstall(end)}`;
  if (version === end.version) return `its lvmsync has the same version as this one (${version})`;
  const name = version.startsWith('lvmsync') ? version : `lvmsync ${version}`;
  return `${name} is installed there, which is too old; ${adviseInstall(end)}`;
}

function adviseInstall({ version }: Pick<SilentEnd, 'version'>): string {
  return `install it there: version ${version}, "npm install -g lvmsync-${version}.tgz" (npm pack makes the file)`;
}

function whereItIsSought({ sudo, path }: FarCommand): string {
  if (path !== null) return '';
  const where = sudo
    ? 'sudo finds it (in its secure_path)'
    : 'a non-interactive shell finds it (in its PATH)';
  return `, where ${where}, or give its path with --remote-path`;
}

/** The line that lets a user run lvmsync through sudo, and where to add it. */
export function adviseSudoers(command: FarCommand, { user, program }: FarFacts): string {
  const path = command.path ?? program ?? '/PATH/OF/lvmsync';
  return (
    `sudo does not let ${user ?? 'this user'} run lvmsync without a password; add this line there to ` +
    `/etc/sudoers.d/lvmsync (visudo -f): ${sudoersLine(user ?? 'USER', path)}`
  );
}

/** A sudoers line that lets a user run one program as root with any arguments and without a password. */
export function sudoersLine(user: string, program: string): string {
  const escape = (text: string, special: RegExp) => text.replace(special, '\\$&');
  return `${escape(user, /[\s!=:,()\\]/g)} ALL=(root) NOPASSWD: ${escape(program, /[\s:,=\\*?[\]!]/g)}`;
}

/** Whether the version found has a lower major number than ours; a Ruby lvmsync does. */
function isOlder(found: string | null, own: string): boolean {
  const major = (version: string) => Number(/(\d+)\.\d+/.exec(version)?.[1] ?? NaN);
  return found !== null && major(found) < major(own);
}

/** Keeps the last few lines. */
export class LastLines {
  readonly #lines: string[] = [];

  constructor(private readonly limit: number) {}

  add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > this.limit) this.#lines.shift();
  }

  get lines(): readonly string[] {
    return this.#lines;
  }
}

/**
 * The error for output of another host that comes before lvmsync's first message. None of it is parsed.
 *
 * @param line what came, up to the end of its first line; not safe to show on a terminal as it is
 */
export function farChatter(host: string, line: string): FarSideError {
  const shown = makeHarmless(line.trim());
  return new FarSideError(
    `${host}: the far side printed "${shown}" before lvmsync's first message: most likely a shell start-up file ` +
      'there, such as .bashrc, prints it. Move that command below the test for an interactive shell ' +
      `([[ $- == *i* ]] || return), or redirect it to standard error (>&2): "ssh ${host} true" must print nothing`,
  );
}
