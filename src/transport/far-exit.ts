import { FarError, FarSideError, LineError, TransportError, type LvmsyncError } from '../errors.js';
import type { FarCommand } from './remote-command.js';
import { makeHarmless } from './stderr-lines.js';
import type { FarExit } from './transport.js';

/** How an external ssh ends whose connection broke, and how our far side does. */
const STATUS_OF_BROKEN_SSH = 255;
const STATUS_OF_BROKEN_LINE = 9;

/** A far side that ended without its report, and what is known of it. */
export interface SilentEnd {
  readonly host: string;
  /** `rsh` where an external command carried the bytes: its own failures show as exit statuses too. */
  readonly carrier: 'ssh2' | 'rsh';
  readonly exit: FarExit;
  /** The last lines of the far side's stderr. */
  readonly heard: readonly string[];
  /** Whether the user has seen those already. */
  readonly isShown: boolean;
  readonly command: FarCommand;
  /** The version of this side. */
  readonly version: string;
}

/** What went wrong over there, as far as the exit status and sudo's own words tell. */
export type FarFault =
  | 'sudo refused'
  | 'sudo wants a terminal'
  | 'sudo is missing'
  | 'missing'
  | 'no node'
  | 'not executable'
  | 'words refused'
  | 'failed';

/** What a far side says of itself when it is asked once more; null where it does not answer. */
export interface FarFacts {
  /** Its lvmsync's version. */
  readonly version: string | null;
  /** The user there, and where lvmsync lies, for sudoers. */
  readonly user: string | null;
  readonly program: string | null;
}

export const UNKNOWN_FACTS: FarFacts = { version: null, user: null, program: null };

/** Tells by status and words what went wrong where a command was to be started. */
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

/** The one error that says why a far side ended without its report. */
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
        `sudo wants a terminal; put this line into its sudoers: ${line}${said}`,
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
      return farSide(`${name} is there, but no node for it: Node 20.19 or newer must be in the PATH there`);
    case 'not executable':
      return farSide(`${name} is there but cannot be executed; check its mode and its Node`);
    case 'words refused':
      return farSide(`the far side refused the command it was given: ${describeVersions(end, facts)}`);
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
  if (signal !== null) return `the far side was ended by ${signal}`;
  if (status === null) {
    return `the line broke before the far side reported a result${problem === undefined ? '' : `: ${problem}`}`;
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
  return `${name} is there, which is too old; ${adviseInstall(end)}`;
}

function adviseInstall({ version }: Pick<SilentEnd, 'version'>): string {
  return `install it there: version ${version}, "npm install -g lvmsync-${version}.tgz" (npm pack makes the file)`;
}

function whereItIsSought({ sudo, path }: FarCommand): string {
  if (path !== null) return '';
  const where = sudo
    ? 'sudo finds it (its secure_path)'
    : 'the PATH of a shell that is not interactive finds it';
  return `, where ${where}, or name its place with --remote-path`;
}

/** The line that lets a user run lvmsync through sudo, and where to put it. */
export function adviseSudoers(command: FarCommand, { user, program }: FarFacts): string {
  const path = command.path ?? program ?? '/PATH/OF/lvmsync';
  return (
    `sudo does not let ${user ?? 'this user'} run lvmsync without a password; put this line there into ` +
    `/etc/sudoers.d/lvmsync (visudo -f): ${sudoersLine(user ?? 'USER', path)}`
  );
}

/** A line of sudoers that lets a user run one program, with any words, as root and without a password. */
export function sudoersLine(user: string, program: string): string {
  const escape = (text: string, special: RegExp) => text.replace(special, '\\$&');
  return `${escape(user, /[\s!=:,()\\]/g)} ALL=(root) NOPASSWD: ${escape(program, /[\s:,=\\*?[\]!]/g)}`;
}

/** Whether a version that was found is of an earlier generation than ours; a Ruby lvmsync is. */
function isOlder(found: string | null, own: string): boolean {
  const major = (version: string) => Number(/(\d+)\.\d+/.exec(version)?.[1] ?? NaN);
  return found !== null && major(found) < major(own);
}

/** The newest few of the lines that pass. */
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
 * The error where something else than lvmsync's first word came from another host: nothing of it is taken for the
 * protocol.
 *
 * @param line what came, up to the end of its first line; not to be trusted with a terminal
 */
export function farChatter(host: string, line: string): FarSideError {
  const shown = makeHarmless(line.trim());
  return new FarSideError(
    `${host}: "${shown}" came instead of lvmsync's first word: most likely a start-up file of the shell there, such as ` +
      '.bashrc, prints it. Move that below the test for an interactive shell ([[ $- == *i* ]] || return), or send it to ' +
      `standard error (>&2): "ssh ${host} true" must print nothing`,
  );
}
