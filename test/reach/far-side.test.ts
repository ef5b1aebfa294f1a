import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FarSideError } from '../../src/errors.js';
import { silentNotice } from '../../src/host/surroundings.js';
import { startFarSide, type Reach } from '../../src/reach/far-side.js';
import { PLAIN_FAR_COMMAND, type FarCommand } from '../../src/transport/remote-command.js';
import { defaultSshSettings } from '../../src/transport/ssh/index.js';
import { quietSurroundings } from '../support/surroundings.js';

const FAKE_RSH = fileURLToPath(new URL('../support/fake-rsh.sh', import.meta.url));
const HOST = { host: 'web1', user: null, port: null };

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'far-side-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function reachBy(command: Partial<FarCommand>): Reach {
  const ssh = defaultSshSettings('/nowhere', 'nobody', null);
  return { rsh: ['sh', FAKE_RSH], ssh, command: { ...PLAIN_FAR_COMMAND, ...command }, retries: 0 };
}

/** A program that stands for what is on the other host. */
function program(name: string, script: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}

async function endOf(reach: Reach, env = quietSurroundings()) {
  const far = await startFarSide(HOST, reach, ['receive', '--', '/dev/x'], env);
  return await far.explainEnd(await far.transport.exit);
}

it.each([
  ['at once', false],
  ['with the error, where notices are silent', true],
])("a far side's words are shown once: %s", async (_name, silent) => {
  const env = quietSurroundings();
  const error = await endOf(
    reachBy({ path: 'no-such-program' }),
    silent ? { ...env, notice: silentNotice } : env,
  );
  const said = /no-such-program.*not found.*no-such-program.*not found/;
  expect(env.notices).toEqual(silent ? [] : [expect.stringMatching(/^web1: .*no-such-program.*not found/)]);
  expect(said.test(error.message)).toBe(silent);
});

it('a far side that refuses its words is asked for its version', async () => {
  const old = program('old', '[ "$1" = --version ] && echo 3.3.2 && exit 0; echo "bad words" >&2; exit 2');
  const error = await endOf(reachBy({ path: old }));
  expect(error).toBeInstanceOf(FarSideError);
  expect(error.message).toMatch(
    /lvmsync 3\.3\.2 is installed there, which is too old; install.*0\.0\.0-test/,
  );
});

it('a refusal by sudo names the user and the program there', async () => {
  const sudo = program('sudo', 'echo "sudo: a password is required" >&2; exit 1');
  const here = program('lvmsync', `echo '{"user":"bob","program":"/opt/lvmsync"}'`);
  const env = quietSurroundings();
  const reach = reachBy({ sudo: true, prefix: ['env', `PATH=${path.dirname(sudo)}:/usr/bin:/bin`] });
  expect(path.dirname(here)).toBe(path.dirname(sudo));
  expect((await endOf(reach, env)).message).toContain(': bob ALL=(root) NOPASSWD: /opt/lvmsync');
});

it('a program that answers questions with nonsense is ignored', async () => {
  const noise = program('noise', '[ "$1" = --version ] && yes; exit 2');
  expect((await endOf(reachBy({ path: noise }))).message).toMatch(/probably too old/);
});
