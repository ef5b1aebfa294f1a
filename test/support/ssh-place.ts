import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectSsh, defaultSshSettings, type SshSettings } from '../../src/transport/ssh/index.js';
import type { Transport } from '../../src/transport/transport.js';
import { SshConfigSpawner } from './ssh-config-spawner.js';
import {
  makeKeyPair,
  startSshServer,
  type KeyPair,
  type SshServer,
  type SshServerOptions,
} from './ssh-server.js';

/** Keys are slow to make: all tests of a file share them. */
export const hostKey = makeKeyPair();
export const rsaHostKey = makeKeyPair('rsa');
export const userKey = makeKeyPair();
export const strangerKey = makeKeyPair();

/** An ssh server on loopback, and a user with a home of their own who gets in by `~/.ssh/id_ed25519`. */
export class SshPlace {
  /** What `ssh -G` says of every host. */
  configLines: string[];
  settings: SshSettings;
  readonly stderr: string[] = [];
  readonly notices: string[] = [];
  readonly env = {
    spawner: new SshConfigSpawner(() => this.configLines),
    notice: (line: string) => this.notices.push(line),
  };

  private constructor(
    readonly server: SshServer,
    readonly home: string,
  ) {
    this.configLines = [
      ...['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => `identityfile ~/.ssh/${name}`),
      `userknownhostsfile ${this.inSsh('known_hosts')}`,
      'globalknownhostsfile none',
    ];
    this.settings = { ...defaultSshSettings(home, 'tester', null), connectTimeoutMs: 30_000 };
  }

  static async open(options: Partial<SshServerOptions> = {}): Promise<SshPlace> {
    const server = await startSshServer({
      hostKeys: [hostKey.private, rsaHostKey.private],
      authorizedKeys: [userKey.public],
      env: process.env,
      ...options,
    });
    const home = await mkdtemp(join(tmpdir(), 'lvmsync-ssh-'));
    await mkdir(join(home, '.ssh'));
    const place = new SshPlace(server, home);
    await place.writeHome('id_ed25519', userKey.private);
    await place.knowHost(hostKey);
    return place;
  }

  async close(): Promise<void> {
    await this.server.close();
    await rm(this.home, { recursive: true });
  }

  inSsh(name: string): string {
    return join(this.home, '.ssh', name);
  }

  async writeHome(name: string, text: string): Promise<void> {
    await writeFile(this.inSsh(name), text);
  }

  async knowHost(key: KeyPair, marker = '', port = this.server.port): Promise<void> {
    await this.writeHome('known_hosts', `${marker}[127.0.0.1]:${port} ${key.public}\n`);
  }

  connect(command: string[], port = this.server.port, host = '127.0.0.1'): Promise<Transport> {
    const destination = { user: null, host, port };
    const start = { destination, command, onStderrLine: (line: string) => this.stderr.push(line) };
    return connectSsh(start, this.settings, this.env);
  }
}
