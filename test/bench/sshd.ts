import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeSshStandIn } from '../support/ssh-stand-in.js';
import { recordedNode, timeRun } from './measure.js';
import { LVMSYNC } from './lvmsync-run.js';

/** A real OpenSSH server on loopback that lets only its own key in. */
export interface Sshd {
  readonly port: number;
  /** For lvmsync: first in its PATH, this folder lets it find the key and the host's key. */
  readonly commands: string;
  /** The words of OpenSSH's client that reach it, but for the command. */
  readonly client: readonly [string, ...string[]];
  /** Where the far lvmsync writes its peak of memory, if it is recorded. */
  readonly receiverMemory: string;
  stop(): Promise<void>;
}

/**
 * Starts sshd with all that belongs to it in `folder`. Resolves to the reason where that cannot be.
 *
 * @param recorded whether the far lvmsync tells its memory, for which it starts a little later
 */
export async function startSshd(folder: string, recorded = true): Promise<Sshd | string> {
  const program = findProgram('sshd');
  if (program === null) return 'no sshd on this machine: install openssh-server';
  const ssh = path.join(folder, 'home/.ssh');
  mkdirSync(ssh, { recursive: true, mode: 0o700 });
  const [hostKey, userKey] = [path.join(folder, 'host_key'), path.join(ssh, 'id_ed25519')];
  for (const key of [hostKey, userKey]) {
    await timeRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'bench', '-f', key]);
  }
  const port = await findFreePort();
  const [type, blob] = readFileSync(`${hostKey}.pub`, 'utf8').split(' ');
  const knownHosts = path.join(ssh, 'known_hosts');
  writeFileSync(knownHosts, `[127.0.0.1]:${port} ${type ?? ''} ${blob ?? ''}\n`);
  writeSshStandIn(path.join(folder, 'near-bin'), ssh);
  const receiverMemory = path.join(folder, 'receiver-memory');
  const commands = writeFarCommand(folder, recorded ? receiverMemory : null);
  const configuration = path.join(folder, 'sshd_config');
  writeFileSync(
    configuration,
    [
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${userKey}.pub`,
      'PidFile none',
      'UsePAM no',
      // the temporary folder belongs to everybody
      'StrictModes no',
      'PermitRootLogin prohibit-password',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PrintMotd no',
      `SetEnv "PATH=${commands}:${process.env['PATH'] ?? ''}"`,
      '',
    ].join('\n'),
  );
  const server = await listen(program, configuration, port);
  if (typeof server === 'string') return server;
  const options = [
    ...['-F', 'none', '-i', userKey, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
    ...['-o', 'GlobalKnownHostsFile=none', '-o', `UserKnownHostsFile=${knownHosts}`, '-p', String(port)],
  ];
  return {
    port,
    commands: path.join(folder, 'near-bin'),
    client: ['ssh', ...options, '127.0.0.1'],
    receiverMemory,
    stop: server,
  };
}

/** `lvmsync` as the far side finds it. */
function writeFarCommand(folder: string, memoryFile: string | null): string {
  const commands = path.join(folder, 'bin');
  const command = path.join(commands, 'lvmsync');
  mkdirSync(commands);
  if (memoryFile === null) symlinkSync(LVMSYNC, command);
  else {
    const words = recordedNode(LVMSYNC).map((word) => `'${word}'`);
    writeFileSync(command, `#!/bin/sh\nBENCH_MEMORY_FILE='${memoryFile}' exec ${words.join(' ')} "$@"\n`);
    chmodSync(command, 0o755);
  }
  return commands;
}

async function listen(
  program: string,
  configuration: string,
  port: number,
): Promise<(() => Promise<void>) | string> {
  // What its package's service makes at boot; a machine that never started it lacks it.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const child = spawn(program, ['-D', '-e', '-f', configuration], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()));
  const ended = once(child, 'close');
  process.once('exit', () => child.kill());
  for (let attempt = 0; attempt < 100 && child.exitCode === null; attempt++) {
    if (await answers(port)) {
      return async () => {
        child.kill();
        await ended;
      };
    }
    await sleep(50);
  }
  child.kill();
  await ended;
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

/** sshd insists on being called by its whole path; an ordinary user's PATH lacks its folder. */
function findProgram(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  const isThere = (file: string): boolean => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  };
  return folders.map((folder) => path.join(folder, name)).find(isThere) ?? null;
}
