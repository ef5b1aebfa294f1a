import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { userInfo } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeSshStandIn } from '../support/ssh-stand-in.js';
import type { Build } from './builds.js';
import type { SyncGoal } from './lvmsync-run.js';
import { timeRun, UsageFolder } from './measure.js';
import { findProgram } from './peers.js';
import { undoAtExit } from './workplace.js';

/** A real OpenSSH server on loopback that lets only its own key in. */
export interface Sshd {
  readonly port: number;
  /** Lets clients reach it by another port, too: that of a proxy. */
  trust(port: number): void;
  /** The words of OpenSSH's client that reach it, but for the command. */
  client(port: number, ...options: readonly string[]): [string, ...string[]];
  /** Where lvmsync reaches a path at the far side. */
  goal(target: string, port: number): SyncGoal;
  /** What the last client's bytes were encrypted with; `null` before there was one. */
  lastCipher(): string | null;
  stop(): Promise<void>;
}

/** Starts sshd with all that belongs to it in `folder`. Resolves to the reason where that cannot be. */
export async function startSshd(folder: string, builds: readonly Build[]): Promise<Sshd | string> {
  const program = findProgram('sshd', process.env);
  if (program === null) return 'no sshd on this machine: install openssh-server';
  const ssh = path.join(folder, 'home/.ssh');
  mkdirSync(ssh, { recursive: true, mode: 0o700 });
  const [hostKey, userKey] = [path.join(folder, 'host_key'), path.join(ssh, 'id_ed25519')];
  for (const key of [hostKey, userKey]) {
    await timeRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'bench', '-f', key]);
  }
  const [type, blob] = readFileSync(`${hostKey}.pub`, 'utf8').split(' ');
  const knownHosts = path.join(ssh, 'known_hosts');
  const trust = (port: number): void => {
    appendFileSync(knownHosts, `[127.0.0.1]:${port} ${type ?? ''} ${blob ?? ''}\n`);
  };
  const port = await findFreePort();
  trust(port);
  const nearCommands = path.join(folder, 'near-bin');
  writeSshStandIn(nearCommands, ssh);
  const far = new UsageFolder(path.join(folder, 'far-usage'));
  const farCommand = (build: Build): string => path.join(folder, `lvmsync-${build.name}`);
  for (const build of builds) writeFarCommand(farCommand(build), build, far);
  const configuration = path.join(folder, 'sshd_config');
  writeFileSync(configuration, configure(port, hostKey, `${userKey}.pub`));
  const server = await listen(program, configuration, port);
  if (typeof server === 'string') return server;
  const options = [
    ...['-F', 'none', '-i', userKey, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
    ...['-o', 'GlobalKnownHostsFile=none', '-o', `UserKnownHostsFile=${knownHosts}`],
  ];
  return {
    port,
    trust,
    client: (at, ...more) => ['ssh', ...more, ...options, '-p', String(at), '127.0.0.1'],
    goal: (target, at) => ({
      target: `ssh://${userInfo().username}@127.0.0.1:${at}${target}`,
      // first in its PATH, this folder lets lvmsync find the key and the host's key
      environment: { ...process.env, PATH: `${nearCommands}:${process.env['PATH'] ?? ''}` },
      words: (build) => ['--remote-path', farCommand(build)],
      far,
    }),
    lastCipher: server.lastCipher,
    stop: server.stop,
  };
}

function configure(port: number, hostKey: string, authorized: string): string {
  return [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${authorized}`,
    'PidFile none',
    'UsePAM no',
    // the temporary folder belongs to everybody
    'StrictModes no',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PrintMotd no',
    // it names the cipher of each connection
    'LogLevel DEBUG1',
    `SetEnv "PATH=${process.env['PATH'] ?? ''}"`,
    '',
  ].join('\n');
}

/** lvmsync as the far side starts it. */
function writeFarCommand(command: string, { program }: Build, far: UsageFolder): void {
  const words = UsageFolder.words(program).map((word) => `'${word}'`);
  writeFileSync(command, `#!/bin/sh\nBENCH_USAGE_FOLDER='${far.folder}' exec ${words.join(' ')} "$@"\n`);
  chmodSync(command, 0o755);
}

async function listen(
  program: string,
  configuration: string,
  port: number,
): Promise<Pick<Sshd, 'stop' | 'lastCipher'> | string> {
  // What its package's service makes at boot; a machine that never started it lacks it.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const child = spawn(program, ['-D', '-e', '-f', configuration], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  let cipher: string | null = null;
  child.stderr.on('data', (piece: Buffer) => {
    said = `${said}${piece.toString()}`.slice(-65_536);
    cipher = [...said.matchAll(/kex: client->server cipher: (\S+) /g)].at(-1)?.[1] ?? cipher;
  });
  const ended = once(child, 'close');
  const kill = undoAtExit(() => child.kill());
  const stop = async (): Promise<void> => {
    kill();
    await ended;
  };
  for (let attempt = 0; attempt < 100 && child.exitCode === null; attempt++) {
    if (await answers(port)) return { stop, lastCipher: () => cipher };
    await sleep(50);
  }
  await stop();
  return `sshd does not start: ${said.trim()}`;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
