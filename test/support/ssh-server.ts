import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import ssh2, { type AuthContext, type Connection, type ServerChannel } from 'ssh2';

/** A key pair in OpenSSH's own forms: what ssh-keygen writes to NAME and NAME.pub. */
export interface KeyPair {
  readonly private: string;
  readonly public: string;
}

export interface SshServerOptions {
  /** One private key for each type of host key. */
  readonly hostKeys: readonly string[];
  /** Public keys, any of which lets any user in. */
  readonly authorizedKeys: readonly string[];
  /** Decides on a login in the place of `authorizedKeys`. */
  readonly authenticate?: (context: AuthContext) => void;
  /** The environment of the commands: a PATH, at least. */
  readonly env: NodeJS.ProcessEnv;
  /** Sees every command string before it runs. */
  readonly onExec?: (command: string) => void;
}

export interface SshServer {
  readonly port: number;
  /** How many connections have been made so far. */
  readonly connections: () => number;
  /** Cuts all connections and ends all commands; the server stays. */
  cut(): void;
  close(): Promise<void>;
}

/** Makes a fresh key pair; only ed25519 keys can have a passphrase here. */
export function makeKeyPair(type: 'ed25519' | 'rsa' = 'ed25519', passphrase?: string): KeyPair {
  if (type === 'rsa') return ssh2.utils.generateKeyPairSync('rsa', { bits: 2048 });
  // ssh2 drops a leading zero, and so makes a broken key of one in fifty
  for (;;) {
    const pair = makeEd25519Pair(passphrase);
    if (Buffer.from(pair.public.split(' ')[1] ?? '', 'base64').length === 51) return pair;
  }
}

function makeEd25519Pair(passphrase: string | undefined): KeyPair {
  if (passphrase === undefined) return ssh2.utils.generateKeyPairSync('ed25519');
  return ssh2.utils.generateKeyPairSync('ed25519', { passphrase, cipher: 'aes256-cbc', rounds: 1 });
}

/** An ssh server on a free port of 127.0.0.1 that runs every command with /bin/sh, as this user. */
export async function startSshServer(options: SshServerOptions): Promise<SshServer> {
  const authorized = options.authorizedKeys.map(parsePublicKey);
  const open = new Set<Connection>();
  const running = new Set<ChildProcess>();
  let connections = 0;

  const server = new ssh2.Server({ hostKeys: [...options.hostKeys] }, (connection) => {
    connections += 1;
    open.add(connection);
    connection.on('authentication', (context) => {
      if (options.authenticate !== undefined) options.authenticate(context);
      else if (isAuthorized(context, authorized)) context.accept();
      else context.reject(['publickey']);
    });
    connection.on('session', (acceptSession) => {
      acceptSession().on('exec', (acceptExec, _reject, { command }) => {
        options.onExec?.(command);
        const child = runCommand(acceptExec(), command, options.env);
        running.add(child);
        child.once('close', () => running.delete(child));
      });
    });
    // A client that turns away at the host key is an error here, and what some tests are about.
    connection.on('error', () => undefined);
    connection.once('close', () => open.delete(connection));
  });

  const cut = (): void => {
    for (const connection of open) (connection as unknown as { _sock: { destroy(): void } })._sock.destroy();
    for (const child of running) child.kill('SIGKILL');
  };

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    cut,
    close: async () => {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Whether a login is by one of these keys. */
export function isAuthorized(context: AuthContext, authorized: readonly ssh2.ParsedKey[]): boolean {
  if (context.method !== 'publickey') return false;
  const { key, signature, blob, hashAlgo } = context;
  const match = authorized.find((candidate) => candidate.getPublicSSH().equals(key.data));
  if (match === undefined) return false;
  // Without a signature the client only asks whether this key would do.
  return signature === undefined || blob === undefined || match.verify(blob, signature, hashAlgo);
}

export function parsePublicKey(text: string): ssh2.ParsedKey {
  const parsed: ssh2.ParsedKey | Error = ssh2.utils.parseKey(text);
  if (parsed instanceof Error) throw parsed;
  return parsed;
}

function runCommand(channel: ServerChannel, command: string, env: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn('/bin/sh', ['-c', command], { env, stdio: 'pipe' });
  // A command that ends before it has read everything breaks its stdin: as in sshd, that is no error.
  child.stdin.on('error', () => undefined);
  channel.pipe(child.stdin);
  child.stdout.pipe(channel, { end: false });
  child.stderr.pipe(channel.stderr, { end: false });
  child.once('close', (status, signal) => {
    // The protocol's signal names have no SIG before them.
    if (signal === null) channel.exit(status ?? 0);
    else channel.exit(signal.slice(3));
    channel.end();
  });
  channel.once('close', () => {
    child.stdout.destroy();
    child.stderr.destroy();
  });
  return child;
}
