import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { lvmsync, run, startSshd, type Sshd } from './support/lab.js';
import { expectFailure, runLvmsync } from './support/outcomes.js';
import { makeHostKeys, startSshdAt } from './support/sshd.js';

/* Servers and shells that get in the way, each with what helps. */

const FILE = '/run/faults-image';
const PORT = 2222;
const inHome = (name: string): string => path.join(homedir(), name);

let sshd: Sshd;
beforeAll(async () => {
  sshd = await startSshd();
  writeFileSync(FILE, Buffer.alloc(65_536, 'image'));
});
afterAll(async () => {
  await sshd.stop();
  rmSync(FILE);
});

describe('a server that offers only post-quantum key exchanges', () => {
  const target = `ssh://root@127.0.0.1:${PORT}${FILE}`;
  let modern: Sshd;
  beforeAll(async () => {
    const folder = '/run/sshd-modern';
    const [hostKey = ''] = await makeHostKeys(folder, ['ed25519']);
    appendFileSync(inHome('.ssh/known_hosts'), `[127.0.0.1]:${PORT} ${hostKey}\n`);
    const settings = [`Port ${PORT}`, 'KexAlgorithms sntrup761x25519-sha512@openssh.com'];
    modern = await startSshdAt({ folder, addresses: ['127.0.0.1'], settings });
  });
  afterAll(() => modern.stop());

  it('is reported, with what reaches it', async () => {
    const message =
      /^lvmsync: 127\.0\.0\.1: it offers only key exchanges that the built-in ssh does not support, such as post-quantum ones; "--rsh ssh" uses the OpenSSH/;
    await expectFailure(['verify', FILE, target, '--batch'], 9, message);
    await runLvmsync('verify', FILE, target, '--batch', '--rsh', 'ssh');
  });

  it('is what the doctor finds about the connection', async () => {
    const { status, stdout } = await lvmsync(['doctor', `ssh://root@127.0.0.1:${PORT}/`, '--batch']);
    expect({ status, stdout }).toEqual({
      status: 9,
      stdout: expect.stringMatching(/problem +connection: .*post-quantum ones; "--rsh ssh"/) as string,
    });
  });
});

describe('a shell on the other host whose start-up file prints', () => {
  const bashrc = inHome('.bashrc');
  const before = readFileSync(bashrc, { flag: 'a+' });
  const target = `root@127.0.0.1:${FILE}`;
  const message =
    /127\.0\.0\.1: the far side printed "Welcome to \\x1b\[1mfar\\x1b\[0m" before lvmsync's first message: most likely a shell start-up file there, such as \.bashrc, prints it/;
  const GREETING = `printf 'Welcome to \\033[1mfar\\033[0m\\nenjoy your stay\\n'`;
  afterEach(() => {
    writeFileSync(bashrc, before);
  });

  it.each([[[]], [['--rsh', 'ssh']]])('is reported, and not mistaken for lvmsync: %j', async (how) => {
    writeFileSync(bashrc, `${GREETING}\n`);
    const words = ['--batch', ...how];
    await expectFailure(['verify', FILE, target, ...words], 10, message);
    await expectFailure(['copy', FILE, target, ...words], 10, message);
    await expectFailure(['pull', 'root@127.0.0.1:vg/none', FILE, ...words], 10, message);
    const { status, stdout } = await lvmsync(['doctor', 'root@127.0.0.1', ...words]);
    expect({ status, stdout }).toEqual({ status: 10, stdout: expect.stringMatching(message) as string });
    expect(stdout).toMatch(/problem +connection:/);
    expect(readFileSync(FILE)).toBeBytes(Buffer.alloc(65_536, 'image'));
  });

  it('is no obstacle if it is changed as the message says', async () => {
    writeFileSync(bashrc, `[[ $- == *i* ]] || return\n${GREETING}\n`);
    expect(await run(['ssh', '-o', 'BatchMode=yes', 'root@127.0.0.1', 'true'])).toBe('');
    await runLvmsync('verify', FILE, target, '--batch');
    writeFileSync(bashrc, `${GREETING} >&2\n`);
    await runLvmsync('verify', FILE, target, '--batch');
  });
});
