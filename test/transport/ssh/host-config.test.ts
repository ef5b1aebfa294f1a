import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandError, TransportError } from '../../../src/errors.js';
import type { Spawner } from '../../../src/host/spawner.js';
import { chooseCiphers } from '../../../src/transport/ssh/handshake.js';
import type { HostConfig } from '../../../src/transport/ssh/host-config.js';
import { resolveHost } from '../../../src/transport/ssh/resolve-host.js';
import { defaultSshSettings, type SshSettings } from '../../../src/transport/ssh/settings.js';

/** Written by OpenSSH: see fixtures/make-dumps.sh. */
const dump = (name: string): string =>
  readFileSync(new URL(`fixtures/${name}.dump`, import.meta.url), 'utf8');

const settings: SshSettings = {
  ...defaultSshSettings('/root', 'root', '/agent'),
  environment: { KEYS: '/keys', OTHER_SOCK: '/other' },
};

/** `ssh -G` that prints this, whatever it is asked; also keeps the words that it was called with. */
function sshThatSays(text: string, calls: (readonly string[])[] = []): Spawner {
  return {
    start: () => {
      throw new Error('nothing is started');
    },
    run: (argv) => {
      calls.push(argv);
      return Promise.resolve({
        status: 0,
        stderr: '',
        stdout: argv.includes('none') ? dump('default') : text,
      });
    },
  };
}

function resolveFrom(text: string, host = 'rich', user: string | null = 'carol', port: number | null = 2200) {
  const env = { spawner: sshThatSays(text), notice: () => undefined };
  return resolveHost({ host, user, port }, settings, env);
}

describe('what ssh -G says', () => {
  it('is asked for this host, user and port', async () => {
    const calls: (readonly string[])[] = [];
    const env = { spawner: sshThatSays(dump('rich'), calls), notice: () => undefined };
    await resolveHost({ host: 'rich', user: 'carol', port: 2200 }, settings, env);
    expect(calls[0]).toEqual(['ssh', '-G', '-p', '2200', '-l', 'carol', '--', 'rich']);
  });

  it('is used as it is', async () => {
    const digest = createHash('sha1').update(`${hostname()}rich.example.com2200carol`).digest('hex');
    expect(await resolveFrom(dump('rich'))).toEqual({
      name: 'rich',
      hostName: 'rich.example.com',
      port: 2200,
      user: 'carol',
      hostKeyAlias: 'box',
      family: 6,
      proxy: { kind: 'command', command: 'nc -x proxy:1080 "rich.example.com" 2200 2>/dev/null' },
      identityFiles: ['/root/.ssh/carol@rich.example.com_2200', '/etc/keys/with a blank', `/keys/${digest}`],
      identitiesOnly: true,
      agentSocket: `/root/agents/root.sock`,
      methods: { publickey: true, password: true, keyboardInteractive: false },
      passwordPrompts: 1,
      userKnownHosts: ['/root/.ssh/known % hosts', '/srv/known'],
      globalKnownHosts: [],
      strictness: 'yes',
      hashNames: true,
      batch: false,
      ciphers: ['aes256-ctr', 'aes128-gcm@openssh.com', 'chacha20-poly1305@openssh.com'],
      connectTimeoutMs: 7_000,
      keepaliveIntervalMs: 20_000,
      keepaliveCount: 5,
    } satisfies HostConfig);
  });

  it('may be a jump, a batch, an agent of the environment, no keys', async () => {
    expect(await resolveFrom(dump('jumping'), 'jumping')).toMatchObject({
      proxy: { kind: 'jump', hops: ['alice@gate:2222', 'inner'] },
      agentSocket: '/other',
      strictness: 'accept-new',
      methods: { publickey: false, password: true, keyboardInteractive: true },
      batch: true,
    });
    expect(await resolveFrom(dump('odd'), 'odd')).toMatchObject({
      agentSocket: null,
      strictness: 'accept-new',
      userKnownHosts: [],
      identityFiles: [],
      methods: { publickey: true, password: false },
    });
  });

  it('is OpenSSH’s own defaults for a host without configuration, except for time-outs', async () => {
    const config = await resolveFrom(dump('default'), 'plain', null, null);
    expect(config).toMatchObject({
      ...{ hostName: 'plain', port: 22, user: 'root', proxy: null, agentSocket: '/agent' },
      ...{ strictness: 'ask', batch: false, ciphers: null, identitiesOnly: false, passwordPrompts: 3 },
      ...{ connectTimeoutMs: 30_000, keepaliveIntervalMs: 15_000, keepaliveCount: 3 },
      userKnownHosts: ['/root/.ssh/known_hosts', '/root/.ssh/known_hosts2'],
      globalKnownHosts: ['/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2'],
    });
    expect(config.identityFiles).toContain('/root/.ssh/id_ed25519');
    expect(chooseCiphers(config)).toBeNull();
  });

  it('names ciphers: the known ones are offered in that order, and it is an error if there are none', async () => {
    const config = await resolveFrom(dump('rich'));
    expect(
      chooseCiphers({ ...config, ciphers: ['rijndael-cbc@lysator.liu.se', 'aes256-ctr', 'aes128-ctr'] }),
    ).toEqual(['aes256-ctr', 'aes128-ctr']);
    expect(() => chooseCiphers({ ...config, ciphers: ['arcfour'] })).toThrow(
      /supports none of the configured/,
    );
  });

  it.each([
    ['RevokedHostKeys, which must not be ignored', 'revokedhostkeys /etc/revoked', /RevokedHostKeys/],
    ['a token that nobody knows', 'identityfile ~/%z', /uses \/root\/%z, and lvmsync does not support %z/],
    ['a variable that is not there', 'identityfile ${NOWHERE}/k', /NOWHERE is not set in the environment/],
    ['a proxy that hands over a socket', 'proxycommand x\nproxyusefdpass yes', /ProxyUseFdpass/],
  ])('is refused with %s', async (_what, lines, message) => {
    await expect(resolveFrom(`${lines}\n`)).rejects.toThrow(TransportError);
    await expect(resolveFrom(`${lines}\n`)).rejects.toThrow(message);
  });

  it('never lets a name with a shell’s characters into a ProxyCommand', async () => {
    for (const host of ["a'b", 'a`id`', 'a b', '-oX', 'a$(id)', 'a;b', 'a\nb']) {
      await expect(resolveFrom('proxycommand nc %h %p\n', host)).rejects.toThrow(/to a shell/);
    }
    await expect(resolveFrom('proxycommand nc %r\n', 'h', '$(id)')).rejects.toThrow(/to a shell/);
    // what does not get there does not matter
    expect((await resolveFrom('proxycommand nc box 22\n', "a'b")).proxy).toMatchObject({
      command: 'nc box 22',
    });
  });

  it('may be an error of its own, which is passed on', async () => {
    const spawner: Spawner = {
      ...sshThatSays(''),
      run: () =>
        Promise.resolve({ status: 255, stdout: '', stderr: 'line 3: Bad configuration option: foo\n' }),
    };
    const asking = resolveHost({ host: 'h', user: null, port: null }, settings, {
      spawner,
      notice: () => undefined,
    });
    await expect(asking).rejects.toThrow(
      /h: the ssh configuration cannot be used: line 3: Bad configuration/,
    );
  });
});

describe('without OpenSSH’s client', () => {
  let home: string;
  const notices: string[] = [];

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'lvmsync-config-'));
    await mkdir(join(home, '.ssh'));
    notices.length = 0;
  });
  afterEach(() => rm(home, { recursive: true }));

  /** This machine's own /etc/ssh/ssh_config may have its say, too. */
  const ofHome = () => notices.filter((line) => line.startsWith(home));

  async function resolveWith(config: string, host: string): Promise<HostConfig> {
    await writeFile(join(home, '.ssh/config'), config);
    const spawner: Spawner = {
      ...sshThatSays(''),
      run: (argv) => Promise.reject(new CommandError(argv, 'ssh is not installed')),
    };
    const env = { spawner, notice: (line: string) => notices.push(line) };
    return resolveHost({ host, user: null, port: null }, { ...settings, home }, env);
  }

  it('the files are read: blocks, first values, tokens, quotes', async () => {
    const config = await resolveWith(
      readFileSync(new URL('fixtures/ssh_config', import.meta.url), 'utf8'),
      'rich',
    );
    expect(config).toMatchObject({
      ...{ hostName: 'rich.example.com', user: 'dave', port: 22, hostKeyAlias: 'box', strictness: 'yes' },
      agentSocket: `${home}/agents/root.sock`,
      userKnownHosts: [`${home}/.ssh/known % hosts`, '/srv/known'],
      globalKnownHosts: [],
      proxy: { command: 'nc -x proxy:1080 "rich.example.com" 22 2>/dev/null' },
      ...{ connectTimeoutMs: 7_000, keepaliveCount: 5, family: 6 },
    });
    expect(config.identityFiles.slice(0, 2)).toEqual([
      `${home}/.ssh/dave@rich.example.com_22`,
      '/etc/keys/with a blank',
    ]);
    expect(ofHome()).toEqual([]);
    expect(await resolveWith('', 'plain')).toMatchObject({
      ...{ hostName: 'plain', port: 22, user: 'root' },
      identityFiles: ['id_rsa', 'id_ecdsa', 'id_ed25519'].map((name) => `${home}/.ssh/${name}`),
    });
  });

  it('a notice says what is ignored, and no program is started', async () => {
    const trace = join(home, 'trace');
    const lines = [`Match exec "touch ${trace}"`, '  Port 1', 'Host *', '  Port 23'];
    expect((await resolveWith(lines.join('\n'), 'h')).port).toBe(23);
    expect(ofHome()).toEqual([expect.stringMatching(/config: Match is ignored/)]);
    expect(existsSync(trace)).toBe(false);
    await resolveWith('Include other\n', 'h');
    expect(ofHome()[1]).toMatch(/config: Include is ignored/);
  });
});
