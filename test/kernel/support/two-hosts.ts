import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { run, tryToRun, type Finished } from './run.js';
import { makeHostKeys, makeUserKey, publicKeyOf, setEnvironment, startSshdAt, type Sshd } from './sshd.js';

/*
 * Two hosts, and a third behind the second: network namespaces, joined by veth pairs. The near one is the guest's
 * first namespace, where the tests themselves run, so that whatever is started there is on the near host.
 *
 *   near                             far                                 beyond
 *   10.7.0.1, fd07::1 -- 10.7.0.2, fd07::2   10.7.1.1 -- 10.7.1.2    (no route from near to beyond)
 *
 * They share the kernel, the devices and the files: give each a volume group of its own.
 */

const FOLDER = '/run/hosts';

/** Someone who can log in on the other hosts, beside root. */
export interface FarUser {
  readonly name: string;
  /** Without one only keys let them in. */
  readonly password?: string;
  /** Root under another name: someone else may not be let into the checkout that holds lvmsync. */
  readonly isRoot?: true;
  /** How sshd asks for the password; `password` by default. */
  readonly asks?: 'password' | 'keyboard-interactive' | 'password after a key';
}

export interface TwoHostsWish {
  readonly users?: readonly FarUser[];
  /** Whether the third host is there too. */
  readonly beyond?: boolean;
}

/** A host with an sshd of its own. */
export interface FarHost {
  /** Resolves on all of them to the first IPv4 address. */
  readonly name: string;
  readonly v4: string;
  /** Empty where it has none. */
  readonly v6: string;
  /** Public host keys: type and blob. */
  readonly hostKeys: readonly string[];
  /** Lets a key in, with options of authorized_keys such as `command="…"`. */
  authorize(publicKey: string, options?: string, user?: string): void;
  /** Takes all keys of a user back. */
  forgetKeys(user?: string): void;
  /** Runs a program over there, as root, with nothing of ssh. */
  run(argv: readonly [string, ...string[]]): Promise<string>;
  /** Ends its sshd, with the sessions that are open staying, and starts it again. */
  restartSshd(): Promise<void>;
}

export interface TwoHosts {
  readonly far: FarHost;
  /** Throws unless it was wished for. */
  readonly beyond: FarHost;
  /** Takes the line between near and far down: whatever is sent gets lost, nobody is told. */
  cut(): Promise<void>;
  restore(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts the hosts. Root's `~/.ssh` is a fresh one until they are stopped: with a key that the others let in, and
 * with their host keys on file. `lvmsync` is found on all of them.
 */
export async function startTwoHosts(wish: TwoHostsWish = {}): Promise<TwoHosts> {
  const users = wish.users ?? [];
  mkdirSync(FOLDER, { recursive: true });
  const stopFiles = await takeOverFiles(users);
  // some kernels have it built in
  const ipv6 = existsSync('/proc/net/if_inet6') ? [] : ['ipv6'];
  await run(['modprobe', '-a', ...ipv6, 'veth']);
  await run(['ip', 'netns', 'add', 'far']);
  await joinHosts(null, 'far', '10.7.0', 'fd07:');
  const far = await startHost({ name: 'far', v4: '10.7.0.2', v6: 'fd07::2' }, users);
  const beyond = wish.beyond === true ? await startBeyond(users) : null;

  const key = publicKeyOf(await makeUserKey());
  for (const { host } of [far, beyond].filter((each) => each !== null)) {
    host.authorize(key);
    for (const hostKey of host.hostKeys) knowHost(host, hostKey);
  }
  return {
    far: far.host,
    get beyond() {
      if (beyond === null) throw new Error('startTwoHosts({ beyond: true }) makes the third host');
      return beyond.host;
    },
    // the far end: the near one would tell its own programs at once
    cut: async () => {
      await run(['ip', '-n', 'far', 'link', 'set', 'to-near', 'down']);
    },
    restore: async () => {
      await run(['ip', '-n', 'far', 'link', 'set', 'to-near', 'up']);
    },
    stop: async () => {
      for (const each of [far, beyond]) await each?.stop();
      await stopFiles();
      rmSync(FOLDER, { recursive: true, force: true });
    },
  };
}

function knowHost({ name, v4, v6 }: FarHost, hostKey: string): void {
  const names = [name, v4, v6].filter((each) => each !== '').join(',');
  appendFileSync(path.join(homedir(), '.ssh/known_hosts'), `${names} ${hostKey}\n`);
}

async function startBeyond(users: readonly FarUser[]): Promise<StartedHost> {
  await run(['ip', 'netns', 'add', 'beyond']);
  await joinHosts('far', 'beyond', '10.7.1', null);
  return startHost({ name: 'beyond', v4: '10.7.1.2', v6: '' }, users);
}

/** Joins two hosts by a veth pair; the ends are called `to-NAME`. A null name is the near one. */
async function joinHosts(left: string | null, right: string, v4: string, v6: string | null): Promise<void> {
  const leftEnd = `to-${right}`;
  const rightEnd = `to-${left ?? 'near'}`;
  const ends = [
    { namespace: left === null ? [] : ['-n', left], device: leftEnd, number: 1 },
    { namespace: ['-n', right], device: rightEnd, number: 2 },
  ];
  await run([
    'ip',
    ...(ends[0]?.namespace ?? []),
    'link',
    'add',
    leftEnd,
    'type',
    'veth',
    'peer',
    'name',
    rightEnd,
    'netns',
    right,
  ]);
  for (const { namespace, device, number } of ends) {
    const commands = [
      `addr add ${v4}.${number}/24 dev ${device}`,
      ...(v6 === null ? [] : [`addr add ${v6}:${number}/64 dev ${device} nodad`]),
      `link set ${device} up`,
      'link set lo up',
    ];
    await run(['ip', ...namespace, '-b', '-'], { input: `${commands.join('\n')}\n` });
    // or an end that goes down and up again would come back without its IPv6 address
    const keep = `echo 1 >/proc/sys/net/ipv6/conf/${device}/keep_addr_on_down`;
    if (namespace[1] === undefined) await run(['sh', '-c', keep]);
    else await run(['ip', 'netns', 'exec', namespace[1], 'sh', '-c', keep]);
  }
}

interface StartedHost {
  readonly host: FarHost;
  stop(): Promise<void>;
}

async function startHost(
  { name, v4, v6 }: Pick<FarHost, 'name' | 'v4' | 'v6'>,
  users: readonly FarUser[],
): Promise<StartedHost> {
  const folder = path.join(FOLDER, name);
  const hostKeys = await makeHostKeys(folder, ['ed25519', 'ecdsa']);
  mkdirSync(path.join(folder, 'keys'));
  const place = {
    folder,
    addresses: [v4, v6].filter((each) => each !== ''),
    namespace: name,
    settings: settingsOf(folder, users),
  };
  let sshd: Sshd = await startSshdAt(place);
  const keysOf = (user: string): string => path.join(folder, 'keys', user);
  const inside = (argv: readonly string[]): Promise<Finished> =>
    tryToRun(['ip', 'netns', 'exec', name, ...argv]);
  const host: FarHost = {
    ...{ name, v4, v6, hostKeys },
    authorize: (publicKey, options = '', user = 'root') => {
      appendFileSync(keysOf(user), `${options === '' ? '' : `${options} `}${publicKey}\n`);
    },
    forgetKeys: (user = 'root') => {
      rmSync(keysOf(user), { force: true });
    },
    run: async (argv) => {
      const { status, stdout, stderr } = await inside(argv);
      if (status !== 0) throw new Error(`${argv.join(' ')} on ${name}: ${status ?? ''} ${stderr}`);
      return stdout;
    },
    restartSshd: async () => {
      await sshd.stop();
      sshd = await startSshdAt(place);
    },
  };
  return {
    host,
    stop: async () => {
      await sshd.stop();
      // sessions that still run hold the namespace, and with it their end of the line
      const pids = (await run(['ip', 'netns', 'pids', name])).split('\n').filter((pid) => pid !== '');
      for (const pid of pids) await tryToRun(['kill', '-KILL', pid]);
      await run(['ip', 'netns', 'del', name]);
    },
  };
}

/** A Match block reaches to the end of the file or the next one: `Match all` ends them before what follows. */
function settingsOf(folder: string, users: readonly FarUser[]): string[] {
  const ofRoot = setEnvironment({ XDG_STATE_HOME: path.join(folder, 'state') });
  const ofUsers = users.flatMap(({ name, password, isRoot, asks = 'password' }) => [
    `Match User ${name}`,
    isRoot === true ? ofRoot : `SetEnv "PATH=${process.env['PATH'] ?? ''}" "DM_DISABLE_UDEV=1"`,
    ...(password === undefined ? [] : WAYS_TO_ASK[asks]),
  ]);
  return [
    `AuthorizedKeysFile ${path.join(folder, 'keys')}/%u`,
    'UsePAM yes',
    'KbdInteractiveAuthentication no',
    'Match User root',
    ofRoot,
    ...ofUsers,
    'Match all',
  ];
}

const WAYS_TO_ASK = {
  password: ['PasswordAuthentication yes'],
  'keyboard-interactive': ['KbdInteractiveAuthentication yes'],
  'password after a key': ['PasswordAuthentication yes', 'AuthenticationMethods publickey,password'],
} as const;

/** Names, users, PAM's rules and root's `~/.ssh`, until the returned function gives the guest its own back. */
async function takeOverFiles(users: readonly FarUser[]): Promise<() => Promise<void>> {
  const inFolder = (name: string): string => path.join(FOLDER, name);
  const names = ['127.0.0.1 localhost', '10.7.0.1 near', '10.7.0.2 far', 'fd07::2 far6', '10.7.1.2 beyond'];
  writeFileSync(inFolder('hosts'), `${names.join('\n')}\n`);
  writeFileSync(inFolder('pam'), PAM_RULES);
  await run(['mount', '--bind', inFolder('hosts'), '/etc/hosts']);
  await run(['mount', '--bind', inFolder('pam'), '/etc/pam.d/sshd']);

  const [passwd, shadow] = ['/run/passwd', '/run/shadow'].map((file) => readFileSync(file)) as [
    Buffer,
    Buffer,
  ];
  for (const [index, { name, password, isRoot }] of users.entries()) {
    const home = path.join(FOLDER, 'home', name);
    const id = isRoot === true ? 0 : 2000 + index;
    await run(['install', '-d', '-o', String(id), home]);
    appendFileSync('/run/passwd', `${name}:x:${id}:${id}::${home}:/bin/bash\n`);
    const hash = password === undefined ? '*' : await run(['perl', '-e', CRYPT, password]);
    appendFileSync('/run/shadow', `${name}:${hash}:19000:0:99999:7:::\n`);
  }

  const ssh = path.join(homedir(), '.ssh');
  if (existsSync(ssh)) renameSync(ssh, `${ssh}.before`);
  mkdirSync(ssh, { mode: 0o700 });
  return async () => {
    await run(['umount', '/etc/hosts', '/etc/pam.d/sshd']);
    // in place: they are mounted over the host's
    writeFileSync('/run/passwd', passwd);
    writeFileSync('/run/shadow', shadow);
    rmSync(ssh, { recursive: true });
    if (existsSync(`${ssh}.before`)) renameSync(`${ssh}.before`, ssh);
  };
}

/** As in crypt(5). */
const CRYPT = 'print crypt($ARGV[0], q($6$salt))';

/** Passwords from /etc/shadow, and no pause after a wrong one. */
const PAM_RULES = `auth required pam_unix.so nodelay
account required pam_permit.so
session required pam_permit.so
`;
