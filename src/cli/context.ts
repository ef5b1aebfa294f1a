import { createRequire } from 'node:module';
import { hostname, userInfo, homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { ByteSource } from '../bytes/byte-channel.js';
import type { HostSelf } from '../doctor/examine-host.js';
import { ProcessSpawner } from '../host/spawner.js';
import { silentNotice, silentProgress, type Surroundings } from '../host/surroundings.js';
import { isUdevListening } from '../host/udev.js';
import { defaultSshSettings, type SshSettings } from '../transport/ssh/index.js';
import { makeHarmless } from '../transport/stderr-lines.js';
import { standardInput } from './standard-input.js';
import { standardOutput, type Output } from './standard-output.js';
import { openTerminalPrompter } from './terminal-prompter.js';
import { terminalProgress, type Verbosity } from './terminal.js';

/** The state directory of root. */
const SYSTEMS = '/var/lib/lvmsync';

/** The process as a command sees it. */
export interface Context {
  /** Standard input; errors use the name for the source of the bytes. */
  readonly input: (name: string) => ByteSource;
  readonly stdout: Output;
  readonly version: string;
  /** How hosts are reached by ssh; with `batch` it never prompts. */
  readonly ssh: (batch: boolean) => SshSettings;
  /** What a doctor reports about this process. */
  readonly self: () => HostSelf;
  /** The command that an ssh client asked for, if sshd ran another one instead (`command=`); else null. */
  readonly sshOriginalCommand: string | null;
  /** What library code may use, with the verbosity that the user asked for. */
  readonly surroundings: (verbosity: Verbosity) => Surroundings;
  /** A line for a person, on stderr. */
  readonly say: (line: string) => void;
}

/** The context of the real process. */
export function processContext(signal: AbortSignal, leaving: AbortSignal): Context {
  const version = readVersion();
  const say = (line: string) => {
    process.stderr.write(`lvmsync: ${makeHarmless(line)}\n`);
  };
  return {
    input: standardInput,
    stdout: standardOutput(),
    version,
    say,
    ssh: (batch) => sshSettings(batch, signal),
    sshOriginalCommand: process.env['SSH_ORIGINAL_COMMAND'] ?? null,
    self: () => ({
      node: process.versions.node,
      program: process.argv[1] ?? 'lvmsync',
      user: userInfo().username,
      isRoot: process.geteuid?.() === 0,
      udev: (process.env['DM_DISABLE_UDEV'] ?? '') !== '' ? 'off' : isUdevListening() ? 'listens' : 'absent',
      otherStateDirs: usualStateDirs(process.env, homedir()),
    }),
    surroundings: (verbosity) => ({
      spawner: new ProcessSpawner(process.env, {
        tell: verbosity === 'debug' ? say : () => undefined,
        notice: verbosity === 'quiet' ? silentNotice : say,
        signal,
        leaving,
      }),
      progress: verbosity === 'quiet' ? silentProgress : terminalProgress(process.stderr),
      clock: () => performance.now(),
      now: () => new Date(),
      notice: verbosity === 'quiet' ? silentNotice : say,
      detail: verbosity === 'verbose' || verbosity === 'debug' ? say : () => undefined,
      signal,
      stateDir: defaultStateDir(process.env, homedir()),
      hostname: hostname(),
      version,
    }),
  };
}

/** The home directory is that of the user database, not $HOME: OpenSSH looks there too. */
function sshSettings(batch: boolean, signal: AbortSignal): SshSettings {
  const { homedir: home, username } = userInfo();
  return {
    ...defaultSshSettings(home, username, process.env['SSH_AUTH_SOCK'] ?? null),
    environment: process.env,
    prompter: batch ? null : openTerminalPrompter(signal),
  };
}

/** Every directory that a run may use by default: with this environment or without it, as root or as this user. */
function usualStateDirs(environment: NodeJS.ProcessEnv, home: string): string[] {
  const withoutXdg = { ...environment, XDG_STATE_HOME: undefined };
  return [
    ...new Set([
      defaultStateDir(environment, home),
      defaultStateDir(withoutXdg, home),
      SYSTEMS,
      inHome(home),
    ]),
  ];
}

function inHome(home: string): string {
  return join(home, '.local', 'state', 'lvmsync');
}

/** The system's directory for root, else the user's own: https://specifications.freedesktop.org/basedir-spec/ */
function defaultStateDir(environment: NodeJS.ProcessEnv, home: string): string {
  const own = environment['XDG_STATE_HOME'];
  if (own !== undefined && isAbsolute(own)) return join(own, 'lvmsync');
  return process.geteuid?.() === 0 ? SYSTEMS : inHome(home);
}

function readVersion(): string {
  const manifest = createRequire(import.meta.url)('../../package.json') as { version: string };
  return manifest.version;
}
