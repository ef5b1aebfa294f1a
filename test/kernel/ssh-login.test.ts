import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectFailure, runLvmsync } from './support/outcomes.js';
import { installLvmsync, installScript } from './support/remote-lvmsync.js';
import { run } from './support/run.js';
import { makeKey, publicKeyOf } from './support/sshd.js';
import { converse } from './support/terminal.js';
import { startTwoHosts, type TwoHosts } from './support/two-hosts.js';

/* `lvmsync … HOST:…` gets in wherever `ssh HOST` does: by the same configuration, with the same questions. */

const FILE = '/run/some-image';
const inSsh = (name: string): string => path.join(homedir(), '.ssh', name);

let hosts: TwoHosts;
let knownHosts = '';

beforeAll(async () => {
  hosts = await startTwoHosts({
    users: [
      { name: 'pia', password: 'sesame', isRoot: true },
      { name: 'kim', password: 'opendoor', isRoot: true, asks: 'keyboard-interactive' },
      { name: 'lea', password: 'knockknock', isRoot: true, asks: 'password after a key' },
    ],
    beyond: true,
  });
  knownHosts = readFileSync(inSsh('known_hosts'), 'utf8');
  writeFileSync(FILE, Buffer.alloc(65_536, 'image'));
});
afterAll(() => hosts.stop());
beforeEach(() => {
  configure('');
  writeFileSync(inSsh('known_hosts'), knownHosts);
});

function configure(text: string): void {
  writeFileSync(inSsh('config'), text);
}

/** The quickest run that takes a login: a far lvmsync reads a small file. */
const reach = (host: string): string[] => [
  'verify',
  FILE,
  `${host}${host.startsWith('ssh://') ? '' : ':'}${FILE}`,
];
const batch = (host: string): string[] => [...reach(host), '--batch'];

describe('the configuration', () => {
  it('gives host, port, user and key, as in ssh', async () => {
    await makeKey(inSsh('key_of_10.7.0.2'), 'ecdsa');
    hosts.far.authorize(publicKeyOf(inSsh('key_of_10.7.0.2')), '', 'pia');
    const words = ['HostName 10.7.0.2', 'User pia', 'IdentityFile ~/.ssh/key_of_%h', 'IdentitiesOnly yes'];
    configure(`Host elsewhere\n  Port 1\nHost back*\n  ${words.join('\n  ')}\nHost *\n  Port 22\n`);
    await runLvmsync(...batch('backup'));
  });

  it('leads through a jump host, and through a command', async () => {
    configure('Host beyond\n  ProxyJump far\n');
    await runLvmsync(...batch('ssh://root@beyond:22'));
    configure('Host beyond\n  ProxyCommand ssh -o "User=%r" -W %h:%p far 2>/dev/null\n');
    await runLvmsync(...batch('beyond'));
  });

  it('may have a proxy that fails, whose own words say why', async () => {
    configure('Host beyond\n  ProxyCommand sh -c "echo the gate is closed >&2; exit 3"\n');
    await expectFailure(
      batch('beyond'),
      9,
      /beyond: the ProxyCommand failed: .*status 3: the gate is closed/,
    );
    configure('Host beyond\n  ProxyJump nobody@far\n');
    await expectFailure(batch('beyond'), 9, /the jump through nobody@far failed: .*Permission denied/);
  });
});

describe('IPv6', () => {
  it('is reached by [ADDRESS]:PATH and in an ssh:// URL', async () => {
    await runLvmsync(...batch('[fd07::2]'));
    await runLvmsync(...batch('ssh://root@[fd07::2]:22'));
  });
});

describe('a key', () => {
  it('comes from an agent, and no other key is offered if the configuration forbids it', async () => {
    const agentSocket = '/run/hosts/agent';
    const agent = /SSH_AGENT_PID=(\d+)/.exec(await run(['ssh-agent', '-a', agentSocket]))?.[1] ?? '';
    const key = '/run/hosts/agent_key';
    await makeKey(key, 'ed25519');
    hosts.far.authorize(publicKeyOf(key), '', 'pia');
    await run(['ssh-add', '-q', key], { environment: { SSH_AUTH_SOCK: agentSocket } });
    rmSync(key);
    try {
      configure(`Host far\n  User pia\n  IdentityAgent ${agentSocket}\n`);
      await runLvmsync(...batch('far'));
      appendFileSync(inSsh('config'), '  IdentitiesOnly yes\n  IdentityFile ~/.ssh/id_ed25519\n');
      await expectFailure(
        batch('far'),
        9,
        /none of our keys was accepted: tried \S+id_ed25519; it wants a password/,
      );
    } finally {
      await run(['kill', agent]);
    }
  });

  it('has its passphrase asked for on the terminal, and never with --batch', async () => {
    const key = inSsh('locked');
    await makeKey(key, 'ed25519', 'open sesame');
    hosts.far.authorize(publicKeyOf(key), '', 'pia');
    configure('Host far\n  User pia\n  IdentityFile ~/.ssh/locked\n  IdentitiesOnly yes\n');
    await expectFailure(
      batch('far'),
      9,
      /locked needs a passphrase, and there is no one to ask: load it into an agent/,
    );
    const question = /Enter passphrase for key '.*locked': $/;
    const { status, shown } = await converse(reach('far'), [
      [question, 'close sesame'],
      [question, 'open sesame'],
    ]);
    expect({ status, shown }).toMatchObject({ status: 0 });
    expect(shown).not.toContain('sesame');
  });
});

describe('a password', () => {
  it.each([
    ['pia', 'sesame', /pia@far's password: $/],
    ['kim', 'opendoor', /\(kim@far\) Password: $/],
  ])('of %s is asked for on the terminal, hidden, not with --batch', async (user, password, question) => {
    configure('Host *\n  PubkeyAuthentication no\n');
    await expectFailure(batch(`${user}@far`), 9, /wants a password, but there is no one to ask/);
    const { status, shown } = await converse(reach(`${user}@far`), [
      [question, 'wrong'],
      [question, password],
    ]);
    expect({ status, shown }).toMatchObject({ status: 0 });
    expect(shown).not.toContain(password);
  });
});

describe('a password after a key', () => {
  it('is asked for once the key was accepted', async () => {
    hosts.far.authorize(publicKeyOf(inSsh('id_ed25519')), '', 'lea');
    await expectFailure(batch('lea@far'), 9, /tried \S+id_ed25519; it wants a password/);
    const { status, shown } = await converse(reach('lea@far'), [[/lea@far's password: $/, 'knockknock']]);
    expect({ status, shown }).toMatchObject({ status: 0 });
  });
});

describe('a host key', () => {
  it('that is unknown is refused if no one can be asked, else shown and added: hashed if that is configured', async () => {
    writeFileSync(inSsh('known_hosts'), '');
    configure('Host *\n  HashKnownHosts yes\n');
    // without a terminal it is a batch by itself
    await expectFailure(reach('far'), 9, /host key ssh-ed25519 SHA256:\S+ is not in any known_hosts file/);
    const question = /yes\/no\/\[fingerprint\]\)\? $/;
    expect(readFileSync(inSsh('known_hosts'), 'utf8')).toBe('');

    const { status, shown } = await converse(reach('far'), [[question, 'yes']]);
    expect({ status, shown }).toMatchObject({ status: 0 });
    const fingerprint = (await run(['ssh-keygen', '-lf', '/run/hosts/far/host_key_ed25519.pub'])).split(
      ' ',
    )[1];
    expect(shown).toContain(fingerprint);
    expect(readFileSync(inSsh('known_hosts'), 'utf8')).toMatch(/^\|1\|\S+ ssh-ed25519 \S+\n$/);
    expect(await run(['ssh-keygen', '-F', 'far', '-f', inSsh('known_hosts')])).toContain('line 1');
    await runLvmsync(...batch('far'));
    await run(['ssh', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=yes', 'far', 'true']);
  });

  it('that has changed, or is revoked, is refused with file and line, whatever is configured', async () => {
    configure('Host *\n  StrictHostKeyChecking no\n');
    const [ofBeyond = ''] = hosts.beyond.hostKeys;
    const [ofFar = ''] = hosts.far.hostKeys;
    writeFileSync(inSsh('known_hosts'), `# comment\nfar ${ofBeyond}\n`);
    await expectFailure(
      reach('far'),
      9,
      /remote host identification has changed: .*known_hosts:2 has ssh-ed25519/,
    );
    writeFileSync(inSsh('known_hosts'), `far ${ofFar}\n@revoked * ${ofFar}\n`);
    await expectFailure(reach('far'), 9, /its host key ssh-ed25519 \S+ is revoked by .*known_hosts:2/);
  });
});

describe('a line', () => {
  it('that goes silent is given up after the keepalives that the configuration asks for', async () => {
    configure('Host far\n  ServerAliveInterval 1\n  ServerAliveCountMax 2\n');
    installScript('touch /run/far.begun; sleep 60');
    try {
      const failing = expectFailure(batch('far'), 9, /far: .*no sign of life for 2 s/);
      await run(['sh', '-c', 'until [ -e /run/far.begun ]; do sleep 0.1; done; sleep 1']);
      await hosts.cut();
      await failing;
    } finally {
      await hosts.restore();
      installLvmsync();
    }
    await runLvmsync(...batch('far'));
  });
});
