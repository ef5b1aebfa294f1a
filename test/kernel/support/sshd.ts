import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './run.js';

const CHECKOUT = path.resolve(import.meta.dirname, '../../..');

/** A running OpenSSH server. */
export interface Sshd {
  stop(): Promise<void>;
}

/** Where a server listens, and what is its own. */
export interface SshdPlace {
  /** Holds its keys and configuration; made where it is not there. */
  readonly folder: string;
  readonly addresses: readonly string[];
  /** The network namespace that it runs in; the guest's first by default. */
  readonly namespace?: string;
  /** Lines of sshd_config(5) that come first, and so win. */
  readonly settings?: readonly string[];
}

/**
 * Starts the real sshd for root on 127.0.0.1, port 22. Its keys, the user's key and known_hosts lie in the guest's
 * private home, so that `ssh 127.0.0.1` and lvmsync get in without a question; `lvmsync` is found over there.
 */
export async function startSshd(): Promise<Sshd> {
  const place: SshdPlace = { folder: '/run/sshd', addresses: ['127.0.0.1'] };
  const userKey = await makeUserKey();
  writeFileSync(path.join(homedir(), '.ssh/authorized_keys'), readFileSync(`${userKey}.pub`), {
    mode: 0o600,
  });
  const [hostKey = ''] = await makeHostKeys(place.folder, ['ed25519']);
  writeFileSync(path.join(homedir(), '.ssh/known_hosts'), `127.0.0.1,localhost ${hostKey}\n`);
  return startSshdAt(place);
}

/** Starts the real sshd on port 22, with the host keys that {@link makeHostKeys} made in its folder. */
export async function startSshdAt(place: SshdPlace): Promise<Sshd> {
  const { folder, addresses, namespace } = place;
  if (!existsSync('/run/bin/lvmsync')) symlinkSync(path.join(CHECKOUT, 'bin/lvmsync.js'), '/run/bin/lvmsync');
  const configFile = path.join(folder, 'config');
  writeFileSync(configFile, configuration(place));
  const words = ['/usr/sbin/sshd', '-D', '-e', '-f', configFile];
  const [command, ...rest] = namespace === undefined ? words : ['ip', 'netns', 'exec', namespace, ...words];
  const server = spawn(command ?? '', rest, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  server.stderr.on('data', (piece: Buffer) => (log += piece.toString()));
  for (let attempt = 0; log.split('Server listening').length <= addresses.length; attempt += 1) {
    if (attempt === 2400 || server.exitCode !== null) throw new Error(`sshd does not listen: ${log}`);
    await sleep(25);
  }
  return {
    stop: async () => {
      if (server.exitCode !== null) return;
      server.kill();
      await once(server, 'exit');
    },
  };
}

/** The variables that a session needs and sshd does not hand on: PATH finds lvmsync, no udev answers device-mapper. */
export function setEnvironment(changed: Readonly<Record<string, string>> = {}): string {
  const variables = ['PATH', 'DM_DISABLE_UDEV', 'MODPROBE_OPTIONS', 'TMPDIR', 'XDG_STATE_HOME'].map(
    (name) => `"${name}=${changed[name] ?? process.env[name] ?? ''}"`,
  );
  return `SetEnv ${variables.join(' ')}`;
}

function configuration({ folder, addresses, settings = [] }: SshdPlace): string {
  return [
    ...settings,
    ...addresses.map((address) => `ListenAddress ${address}`),
    ...KEY_TYPES.map((type) => path.join(folder, `host_key_${type}`))
      .filter((file) => existsSync(file))
      .map((file) => `HostKey ${file}`),
    'PidFile none',
    'UsePAM no',
    // hostfs shows the host's owners
    'StrictModes no',
    'PermitRootLogin yes',
    'PasswordAuthentication no',
    'PrintMotd no',
    'UseDNS no',
    'MaxStartups 50',
    setEnvironment(),
    '',
  ].join('\n');
}

const KEY_TYPES = ['ed25519', 'ecdsa'] as const;
export type KeyType = (typeof KEY_TYPES)[number];

/** Makes a server's host keys in its folder, unless they are there, and returns the public ones: type and blob. */
export async function makeHostKeys(folder: string, types: readonly KeyType[]): Promise<string[]> {
  mkdirSync(folder, { recursive: true });
  const keys: string[] = [];
  for (const type of types) {
    const file = path.join(folder, `host_key_${type}`);
    await makeKey(file, type);
    keys.push(publicKeyOf(file));
  }
  return keys;
}

/** Makes root's own key, which lvmsync and ssh offer by themselves, unless it is there. Returns the private file. */
export async function makeUserKey(): Promise<string> {
  const folder = path.join(homedir(), '.ssh');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = path.join(folder, 'id_ed25519');
  await makeKey(file, 'ed25519');
  return file;
}

/** The public half of a key that ssh-keygen made: type and blob. */
export function publicKeyOf(file: string): string {
  return readFileSync(`${file}.pub`, 'utf8').split(' ', 2).join(' ');
}

/** Makes a key with ssh-keygen, unless it is there. */
export async function makeKey(file: string, type: KeyType, passphrase = ''): Promise<void> {
  if (existsSync(file)) return;
  await run(['ssh-keygen', '-q', '-t', type, '-N', passphrase, '-C', 'guest', '-f', file]);
}
