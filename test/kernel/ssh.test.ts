import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { copyDevice, mapDevice, sectorsOf, unmapDevices, waitForWrites } from './support/devices.js';
import {
  createSnapshot,
  createVolume,
  digestOf,
  lvmsync,
  run,
  startSshd,
  writeRandom,
  type Sshd,
} from './support/lab.js';
import { expectFailure, expectPlainLines, reportOf, runLvmsync } from './support/outcomes.js';
import {
  installLvmsync,
  installRubyStandIn,
  installScript,
  removeLvmsync,
} from './support/remote-lvmsync.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-ssh';
const SNAPSHOT = `${GROUP}/snap`;
const KNOWN_HOSTS = path.join(homedir(), '.ssh/known_hosts');

let sshd: Sshd;
let origin = '';
let target = '';
let changed = '';
let base = '';

useVolumeGroup(GROUP);
beforeAll(async () => {
  sshd = await startSshd();
  origin = await createVolume(GROUP, 'origin', '8M');
  target = await createVolume(GROUP, 'target', '8M');
  await writeRandom(origin, 0, 8 << 20, 'base');
  await createSnapshot(GROUP, 'origin', 'snap', { size: '8M', chunkSize: '16k' });
  base = await digestOf(origin);
  await writeRandom(origin, 0, 200_000, 'start');
  await writeRandom(origin, 5 << 20, 700_000, 'middle');
  await writeRandom(origin, (8 << 20) - 512, 512, 'end');
  changed = await digestOf(origin);
});
afterAll(() => sshd.stop());
beforeEach(() => copyDevice(`/dev/${SNAPSHOT}`, target));
afterEach(installLvmsync);

describe('over the built-in ssh', () => {
  it('sends the changes to the other host, and says how much was sent', async () => {
    const report = await reportOf(SNAPSHOT, `root@127.0.0.1:${target}`);
    expect(await digestOf(target)).toBe(changed);
    const bytes = (49 + 171 + 1) * 4096;
    const named = (13 + 43 + 1) * 16_384;
    expect(report).toMatchObject({ tableBytes: named, changedBytes: bytes, consistent: true });
    expect(report['sentBytes']).toBeGreaterThan(bytes);
    // beside that, the closer sample of a target of which nothing is recorded
    expect(report['sentBytes']).toBeLessThan(bytes * 1.02 + 32 * 1024);
  });

  it('refuses a host whose key is not known', async () => {
    const onFile = readFileSync(KNOWN_HOSTS);
    writeFileSync(KNOWN_HOSTS, '');
    try {
      await expectFailure(
        [SNAPSHOT, `127.0.0.1:${target}`],
        9,
        /host key ssh-ed25519 \S+ is not in any known_hosts/,
      );
    } finally {
      writeFileSync(KNOWN_HOSTS, onFile);
    }
    expect(await digestOf(target)).toBe(base);
  });
});

describe('over --rsh', () => {
  it('sends the changes through an ssh with options', async () => {
    const rsh = 'ssh -o BatchMode=yes -o User=root';
    await runLvmsync('-e', rsh, SNAPSHOT, `127.0.0.1:${target}`);
    expect(await digestOf(target)).toBe(changed);
  });

  it('keeps blanks within quotes', async () => {
    const configuration = '/run/home/my ssh config';
    writeFileSync(configuration, 'Host elsewhere\n  HostName 127.0.0.1\n  User root\n');
    await runLvmsync('--rsh', `ssh -F '${configuration}'`, SNAPSHOT, `elsewhere:${target}`);
    expect(await digestOf(target)).toBe(changed);
  });

  it('says that the remote shell cannot be started', async () => {
    await expectFailure(
      ['-e', 'no-such-shell', SNAPSHOT, `h:${target}`],
      12,
      /no-such-shell: .*not installed/,
    );
  });
});

describe.each([
  ['over the built-in ssh', []],
  ['over --rsh ssh', ['--rsh', 'ssh']],
])('a target name that is meant to run something, %s', (_how, words) => {
  it('is only a name', async () => {
    const name = `-dash $(touch pwned1)\`touch pwned2\`; touch pwned3 & quo'te "and" \\ *?[a] ~ {x,y} !1 $HOME #`;
    const folder = '/run/odd names';
    mkdirSync(folder, { recursive: true });
    const file = path.join(folder, name);
    await run(['cp', '--', target, file]);
    await runLvmsync(...words, SNAPSHOT, `127.0.0.1:${file}`);
    expect(await digestOf(file)).toBe(changed);
    await run(['rm', '--', file]);
    const traces = ['1', '2', '3'].flatMap((n) => [`${homedir()}/pwned${n}`, `${folder}/pwned${n}`]);
    expect(traces.filter((trace) => existsSync(trace))).toEqual([]);
  });
});

describe('a far side that fails gives one clear error', () => {
  it('if it has no lvmsync', async () => {
    removeLvmsync();
    await expectFailure(
      [SNAPSHOT, `127.0.0.1:${target}`],
      10,
      /127\.0\.0\.1: lvmsync was not found; install it/,
    );
    await expectFailure(
      ['-e', 'ssh', SNAPSHOT, `127.0.0.1:${target}`],
      10,
      /lvmsync was not found; install it/,
    );
  });

  it('if the target is too small', async () => {
    const small = await createVolume(GROUP, 'small', '7M');
    const before = await digestOf(small);
    await expectFailure(
      [SNAPSHOT, `127.0.0.1:${small}`],
      3,
      /127\.0\.0\.1: .*small: too small: it has 7 MiB/,
    );
    expect(await digestOf(small)).toBe(before);
  });

  it('if the target is mounted', async () => {
    await run(['mkfs.ext4', '-q', '-F', target]);
    const countFiles = async () => / \d+\/\d+ files/.exec(await run(['fsck.ext4', '-n', '-f', target]))?.[0];
    const files = await countFiles();
    expect(files).toBeDefined();
    mkdirSync('/run/mounted', { recursive: true });
    await run(['mount', target, '/run/mounted']);
    try {
      await expectFailure([SNAPSHOT, `127.0.0.1:${target}`], 3, /127\.0\.0\.1: .*target: it is mounted on/);
    } finally {
      await run(['umount', '/run/mounted']);
    }
    expect(await countFiles()).toBe(files);
  });

  it('if the target does not exist', async () => {
    await expectFailure([SNAPSHOT, `127.0.0.1:/dev/${GROUP}/none`], 8, /127\.0\.0\.1: .*none.*ENOENT/);
  });

  it('if it reads nothing and ends with 0', async () => {
    installScript('exit 0');
    await expectFailure(
      [SNAPSHOT, `127.0.0.1:${target}`],
      9,
      /127\.0\.0\.1: .*without (a word|reporting a result)/,
    );
  });

  it('if it reads a little, reports nothing and ends with 0', async () => {
    installScript('head -c 17 >/dev/null; exit 0');
    await expectFailure(['-e', 'ssh', SNAPSHOT, `127.0.0.1:${target}`], 9, /127\.0\.0\.1: /);
    expect(await digestOf(target)).toBe(base);
  });

  it('if it only says why it cannot run', async () => {
    installScript('echo "node: bad option" >&2; exit 9');
    const stderr = await expectFailure([SNAPSHOT, `127.0.0.1:${target}`], 9, /status 9/);
    expect(stderr).toContain('lvmsync: 127.0.0.1: node: bad option\n');
  });

  it('if its receiver is killed in the middle', async () => {
    installScript('echo $$ >/run/far.pid; exec "$LVMSYNC" "$@"');
    const slow = await mapDevice(
      'slow-ssh',
      `0 ${await sectorsOf(target)} delay ${target} 0 0 ${target} 0 200`,
    );
    try {
      const sending = lvmsync([SNAPSHOT, `127.0.0.1:${slow}`]);
      await waitForWrites(slow);
      process.kill(Number(readFileSync('/run/far.pid', 'utf8')), 'SIGKILL');
      const { status, stderr } = await sending;
      expect({ status, stderr }).toEqual({
        status: 9,
        stderr: expect.stringMatching(/127\.0\.0\.1: .*SIGKILL|KILL/) as string,
      });
      expectPlainLines(stderr);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    } finally {
      await unmapDevices('slow-ssh');
    }
    // what was half-written is mended by another run
    await runLvmsync(SNAPSHOT, `127.0.0.1:${target}`);
    expect(await digestOf(target)).toBe(changed);
  });
});

describe('--protocol 3 to a Ruby lvmsync', () => {
  it('sends the changes in its format, and succeeds with it', async () => {
    installRubyStandIn();
    const result = await lvmsync(['--protocol', '3', '--json', SNAPSHOT, `127.0.0.1:${target}`]);
    expect(result).toMatchObject({ status: 0 });
    expect(await digestOf(target)).toBe(changed);
    expect(result.stderr).toMatch(/^lvmsync: 127\.0\.0\.1: \d+ records applied\n$/);
    expect(JSON.parse(result.stdout)).toMatchObject({ changedBytes: 57 * 16_384, consistent: true });
  });

  it('fails when it fails', async () => {
    installScript('cat >/dev/null; echo "cannot open it" >&2; exit 1');
    const words = ['--protocol', '3', '-e', 'ssh', SNAPSHOT, `127.0.0.1:${target}`];
    await expectFailure(words, 9, /cannot open it[^]*ended with status 1/);
    expect(await digestOf(target)).toBe(base);
  });
});
