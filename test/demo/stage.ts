import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeKeyPair, startSshServer, type SshServer } from '../support/ssh-server.js';
import { writeSshStandIn } from '../support/ssh-stand-in.js';

/** What the demo plays with: a volume before and after, and the store a kernel wrote in between. */
export interface Props {
  readonly base: Uint8Array;
  readonly origin: Uint8Array;
  readonly cow: Uint8Array;
}

/** A private folder with the volumes, an ssh server on loopback that lets this demo in, and a shell's environment. */
export interface Stage {
  /** Holds volume.img (as it is now), store.cow, base.img (as it was) and target.img (equal to base.img). */
  readonly folder: string;
  readonly port: number;
  readonly environment: NodeJS.ProcessEnv;
  leave(): Promise<void>;
}

/** @param lvmsync a line of shell that runs the program with "$@" */
export async function setStage(props: Props, lvmsync: string): Promise<Stage> {
  const folder = mkdtempSync(path.join(tmpdir(), 'lvmsync-demo-'));
  const sweep = (): void => {
    rmSync(folder, { recursive: true, force: true });
  };
  // Also where a Ctrl-C ends it all.
  process.once('exit', sweep);
  try {
    writeVolumes(folder, props);
    const environment = makeEnvironment(folder, lvmsync);
    const server = await openDoor(folder, environment);
    const leave = async (): Promise<void> => {
      await server.close();
      sweep();
      process.off('exit', sweep);
    };
    return { folder, port: server.port, environment, leave };
  } catch (error) {
    sweep();
    throw error;
  }
}

function writeVolumes(folder: string, { base, origin, cow }: Props): void {
  writeFileSync(path.join(folder, 'volume.img'), origin);
  writeFileSync(path.join(folder, 'store.cow'), cow);
  writeFileSync(path.join(folder, 'base.img'), base);
  writeFileSync(path.join(folder, 'target.img'), base);
}

/** A home of its own, so that nobody's keys are touched, and `lvmsync` as a command. */
function makeEnvironment(folder: string, lvmsync: string): NodeJS.ProcessEnv {
  const commands = path.join(folder, 'bin');
  mkdirSync(commands);
  writeFileSync(path.join(commands, 'lvmsync'), `#!/bin/sh\n${lvmsync}\n`);
  chmodSync(path.join(commands, 'lvmsync'), 0o755);
  return {
    PATH: `${commands}:${process.env['PATH'] ?? '/usr/bin:/bin'}`,
    HOME: path.join(folder, 'home'),
    XDG_STATE_HOME: path.join(folder, 'state'),
    LC_ALL: 'C.UTF-8',
  };
}

async function openDoor(folder: string, environment: NodeJS.ProcessEnv): Promise<SshServer> {
  const ssh = path.join(folder, 'home/.ssh');
  const [hostKey, userKey] = [makeKeyPair(), makeKeyPair()];
  mkdirSync(ssh, { recursive: true, mode: 0o700 });
  writeFileSync(path.join(ssh, 'id_ed25519'), userKey.private, { mode: 0o600 });
  const server = await startSshServer({
    hostKeys: [hostKey.private],
    authorizedKeys: [userKey.public],
    env: environment,
  });
  writeSshStandIn(path.join(folder, 'bin'), ssh);
  writeFileSync(path.join(ssh, 'known_hosts'), `[127.0.0.1]:${server.port} ${hostKey.public}\n`);
  return server;
}
