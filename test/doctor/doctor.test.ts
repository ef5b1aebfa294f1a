import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerDoctor, examineBoth } from '../../src/doctor/doctor.js';
import { examineHost, type HostRole, type HostSelf, type Scope } from '../../src/doctor/examine-host.js';
import type { Reach } from '../../src/reach/far-side.js';
import { PLAIN_FAR_COMMAND } from '../../src/transport/remote-command.js';
import { defaultSshSettings } from '../../src/transport/ssh/index.js';
import { GOOD, groups, programs, ROOT, volumes } from '../support/scenes/doctor-host.js';
import { quietSurroundings } from '../support/surroundings.js';

const FAKE_RSH = fileURLToPath(new URL('../support/fake-rsh.sh', import.meta.url));
const FAR = { host: 'web1', user: null, port: null };
const NOBODY: HostSelf = { ...ROOT, user: 'bob', isRoot: false };

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'doctor-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function verdicts(
  role: HostRole,
  answers: Parameters<typeof programs>[0],
  self = ROOT,
  scope: Scope = 'everything',
) {
  const findings = await examineHost(role, self, scope, quietSurroundings(programs(answers)));
  return new Map(findings.map((finding) => [finding.check, finding]));
}

describe('a look at a host', () => {
  it('finds volume groups of one name, and which they are', async () => {
    const found = await verdicts('any', {
      ...GOOD,
      vgs: { stdout: groups(['vg', 'uuid-1'], ['vg', 'uuid-2']) },
    });
    expect(found.get('volume groups')).toEqual({
      check: 'volume groups',
      verdict: 'problem',
      text: '2 volume groups are called vg, so LVM cannot find a volume by that name',
      advice: expect.stringMatching(
        /vgrename UUID NEWNAME; the UUIDs are uuid-1 and uuid-2\), or hide/,
      ) as string,
    });
    expect((await verdicts('any', GOOD)).get('volume groups')).toMatchObject({ verdict: 'ok' });
  });

  it.each([
    ['"vg/vm"', 'warning', /inactive.*"@lvmsync.partial", "@lvmsync.temporary", "@lvmsync.view"/],
    ['"vg/vm","@lvmsync.temporary","@lvmsync.view"', 'warning', /add "@lvmsync.partial" to/],
    ['"vg"', 'warning', /makes in other stays inactive/],
    ['"vg","other"', 'ok', null],
    ['"@lvmsync.partial","@lvmsync.temporary","@lvmsync.view"', 'ok', null],
  ])('judges volume_list=[%s]: %s', async (list, verdict, advice) => {
    const lvmconfig = { stdout: `volume_list=[${list}]\n` };
    const found = (await verdicts('any', { ...GOOD, lvmconfig })).get('activation');
    expect(found).toMatchObject({ verdict });
    if (advice === null) expect(found?.advice).toBeNull();
    else expect(found?.advice).toMatch(advice);
  });

  it('finds nothing wrong if everything is there', async () => {
    const found = await verdicts('source', GOOD);
    for (const check of ['versions', 'rights', 'lvm', 'device-mapper', 'thin tools']) {
      expect(found.get(check)).toMatchObject({ verdict: 'ok', advice: null });
    }
    expect(found.get('lvm')?.text).toBe('LVM 2.03.16(2), which knows 2 logical volumes');
    expect(found.get('device-mapper')?.text).toMatch(
      /1\.02\.185, driver 4\.47\.0; targets: snapshot loaded, thin/,
    );
  });

  it('says who makes device nodes, and if no one does', async () => {
    const nodes = async (answers: Parameters<typeof programs>[0], udev: HostSelf['udev']) =>
      (await verdicts('target', answers, { ...ROOT, udev }, 'everything')).get('device nodes');
    const alone = { ...GOOD, lvmconfig: { stdout: 'udev_sync=0\nudev_rules=0\n' } };
    expect(await nodes(GOOD, 'listens')).toMatchObject({ verdict: 'ok', text: 'LVM leaves them to udev' });
    expect(await nodes(GOOD, 'off')).toMatchObject({ verdict: 'ok', text: 'LVM makes them itself' });
    expect(await nodes(alone, 'absent')).toMatchObject({ verdict: 'ok', text: 'LVM makes them itself' });
    expect(await nodes(GOOD, 'absent')).toMatchObject({
      verdict: 'warning',
      text: 'LVM leaves them to udev, which does not run here: new volumes will have none',
      advice: expect.stringMatching(/udev_sync = 0 and udev_rules = 0/) as string,
    });
    const lost = { ...GOOD, lvs: { stdout: volumes('/dev/null', '/dev/no-vg/lost', '/dev/no-vg/inactive') } };
    expect(await nodes(lost, 'listens')).toMatchObject({
      verdict: 'problem',
      text: '1 of 2 active volumes have none, such as /dev/no-vg/lost; LVM leaves them to udev',
    });
  });

  it.each([
    ['source', 'problem'],
    ['target', 'warning'],
  ] as const)('reports LVM that this user may not ask, on a %s, as a %s', async (role, verdict) => {
    const refused = '  WARNING: Running as a non-root user. Functionality may be unavailable.\n';
    const answers = { ...GOOD, lvs: { status: 5, stderr: refused } };
    expect((await verdicts(role, answers, NOBODY, 'itself')).get('lvm')).toMatchObject({
      verdict,
      text: expect.stringMatching(
        /^LVM 2\.03\.16\(2\) does not answer this user, so a volume that has snapshots/,
      ) as string,
      advice: 'run as root (on the far side: --sudo)',
    });
  });

  it('reports LVM that gives no answer as a problem on a target, too, because the target would be refused', async () => {
    const answers = { ...GOOD, lvs: { status: 5, stderr: '  no idea\n' } };
    expect((await verdicts('target', answers, ROOT, 'everything')).get('lvm')).toMatchObject({
      verdict: 'problem',
      text: expect.stringMatching(
        /does not answer \(lvs .*no idea\), so its volumes are refused as targets/,
      ) as string,
    });
  });

  it('names no volume and no run to a client that may only write some volumes', async () => {
    const lost = { ...GOOD, lvs: { stdout: volumes('/dev/no-vg/lost', '/dev/null') }, vgs: {} };
    const own = await verdicts('target', lost, ROOT, 'itself');
    const base = [
      'versions',
      'rights',
      'lvm',
      'device nodes',
      'device-mapper',
      'thin tools',
      'state directory',
    ];
    expect([...own.keys()]).toEqual(base);
    expect(JSON.stringify([...own.values()])).not.toMatch(/no-vg/);
    const broken = { ...GOOD, lvs: { status: 5, stderr: '  no-vg is not for you\n' } };
    expect(JSON.stringify([...(await verdicts('target', broken, ROOT, 'itself')).values()])).not.toMatch(
      /no-vg/,
    );
  });

  it.each([
    ['source', 'problem'],
    ['any', 'warning'],
    ['target', 'ok'],
  ] as const)('reports a %s without LVM as a %s', async (role, verdict) => {
    const found = await verdicts(role, {});
    expect(found.get('lvm')?.verdict).toBe(verdict);
    expect(found.get('device-mapper')?.verdict).toBe(verdict);
  });

  it('reports a device-mapper that does not answer, or lacks what a source needs', async () => {
    const silent = {
      ...GOOD,
      'dmsetup version': { status: 1, stdout: 'Library version: 1\n', stderr: 'no\n' },
    };
    expect((await verdicts('source', silent)).get('device-mapper')).toMatchObject({ verdict: 'problem' });
    const bare = { ...GOOD, 'dmsetup targets': { stdout: 'linear v1\n' } };
    expect((await verdicts('source', bare)).get('device-mapper')?.advice).toMatch(/modprobe dm-snapshot/);
  });

  it.each([
    ['source', 'problem'],
    ['any', 'problem'],
    ['target', 'warning'],
  ] as const)('reports a thin_delta that gives wrong answers, on a %s, as a %s', async (role, verdict) => {
    const found = await verdicts(role, { ...GOOD, 'thin_delta -V': { stdout: 'thin_delta 1.0.5\n' } });
    expect(found.get('thin tools')).toMatchObject({
      verdict,
      text: expect.stringMatching(
        /^thin_delta: version 1\.0\.5 cannot be trusted: it reports changed/,
      ) as string,
      advice: expect.stringMatching(/^install version 1\.0\.6 or newer .*"lvmsync --scan"/) as string,
    });
  });

  it('reports the version of thin_delta, or that it does not say its version', async () => {
    expect((await verdicts('source', GOOD)).get('thin tools')?.text).toBe('thin_delta 0.9.0');
    expect((await verdicts('source', {})).get('thin tools')).toMatchObject({
      verdict: 'ok',
      text: 'not installed; only thin volumes need them',
    });
    const silent = { ...GOOD, 'thin_delta -V': { status: 127, stderr: 'no libaio\n' } };
    expect((await verdicts('source', silent)).get('thin tools')).toMatchObject({
      verdict: 'problem',
      text: 'thin_delta: it does not report its version (it prints "") (no libaio)',
    });
  });

  it('says how a user gets the permission that is missing', async () => {
    const none = (await verdicts('source', GOOD, NOBODY)).get('rights');
    expect(none?.advice).toContain('bob ALL=(root) NOPASSWD: /usr/bin/lvmsync');
    const some = await verdicts('source', { ...GOOD, 'sudo -n -l -- /usr/bin/lvmsync receive': {} }, NOBODY);
    expect(some.get('rights')?.advice).toMatch(
      /sudo lets this user run it as root \(on the far side: --sudo\)/,
    );
  });

  it('asks for a newer Node if it is too old', async () => {
    const old = await verdicts('target', GOOD, { ...ROOT, node: '20.9.0' });
    expect(old.get('versions')).toMatchObject({ verdict: 'problem', advice: 'install Node 20.19 or newer' });
  });
});

/** A far side that this script plays; `$REPORT` is a good report. */
function playedBy(name: string, script: string): Reach {
  const file = path.join(folder, name);
  const report = {
    hostname: 'web1',
    version: '0.0.0-test',
    user: 'root',
    program: '/x/lvmsync',
    findings: [],
  };
  writeFileSync(file, `#!/bin/sh\nREPORT='${JSON.stringify(report)}'\n${script}\n`);
  chmodSync(file, 0o755);
  const ssh = defaultSshSettings('/nowhere', 'nobody', null);
  return { rsh: ['sh', FAKE_RSH], ssh, command: { ...PLAIN_FAR_COMMAND, path: file }, retries: 0 };
}

const TIMES = 'while read -r line; do echo "$NOW"; done';

describe('between two hosts', () => {
  const now = quietSurroundings().now().getTime();

  it.each([
    ['agree', now, 'ok', /agree/],
    ['differ', now + 90_000, 'warning', /clock is (90\.0|8\d\.\d) s ahead/],
    ['differ the other way', now - 5000, 'warning', /clock is [5-9]\.\d s behind/],
  ])('clocks that %s are reported', async (_name, time, verdict, text) => {
    const reach = playedBy('clock', `NOW=${time}; echo "$REPORT"; ${TIMES}`);
    const { between, there, problem } = await examineBoth(FAR, reach, ROOT, quietSurroundings());
    expect(between.at(-1)).toMatchObject({
      check: 'clocks',
      verdict,
      text: expect.stringMatching(text) as string,
    });
    expect(there?.hostname).toBe('web1');
    // Whatever this host lacks: the far side has no part in it.
    expect([null, 'COMMAND']).toContain(problem);
  });

  it.each([
    ['says nothing and ends', 'exit 0', 'TRANSPORT', /without reporting/],
    ['is not there', 'exit 127', 'FAR_SIDE', /was not found/],
    [
      'says something else',
      'echo hello; cat',
      'FAR_SIDE',
      /printed "hello" before lvmsync's first message: .*bashrc/,
    ],
    ['reports too much', 'echo "{}"; cat', 'FAR_SIDE', /not from an lvmsync doctor/],
    ['tells no time', 'echo "$REPORT"; NOW=soon; ' + TIMES, 'FAR_SIDE', /not from an lvmsync doctor/],
    ['never ends its line', 'yes x | tr -d "\\n"', 'TRANSPORT', /a line that does not end/],
  ])('a far side that %s is a finding', async (_name, script, code, text) => {
    const { between, there, problem } = await examineBoth(
      FAR,
      playedBy('bad', script),
      ROOT,
      quietSurroundings(),
    );
    expect({ there, problem }).toEqual({ there: null, problem: code });
    expect(between).toMatchObject([{ check: 'connection', verdict: 'problem' }]);
    expect(between[0]?.text).toMatch(text);
  });
});

it('the answer is a report on one line, then the time for each line', async () => {
  const pieces: string[] = [];
  const output = {
    write: (piece: Uint8Array) => Promise.resolve(void pieces.push(Buffer.from(piece).toString())),
    end: () => Promise.resolve(),
  };
  async function* input() {
    yield Buffer.from('\n\n');
    yield await Promise.resolve(Buffer.from('\n'));
  }
  await answerDoctor({ input: input(), output }, ROOT, 'itself', quietSurroundings(programs(GOOD)));
  const [report, ...times] = pieces.map((piece) => JSON.parse(piece) as unknown);
  expect(pieces.every((piece) => piece.indexOf('\n') === piece.length - 1)).toBe(true);
  expect(report).toMatchObject({ user: 'root', program: '/usr/bin/lvmsync', hostname: 'test-host' });
  expect(times).toEqual(Array(3).fill(quietSurroundings().now().getTime()));
});
