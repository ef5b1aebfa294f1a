import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Finding } from '../../../src/doctor/finding.js';
import { digestOf } from './device-bytes.js';
import { lvmsyncCommand, run, tryToRun } from './run.js';

/** Where the tests of a doctor have their state directories, beside the usual one. */
export const PLACE = '/run/ill';
export const STATE = `${PLACE}/state/lvmsync`;
const DISKS = ['ubda', 'ubdb'];

interface Look {
  /** A volume whose bytes stay as they are. */
  readonly target: string;
  readonly as?: readonly string[];
  readonly stateHome?: string;
}

/** What a doctor finds, who changes nothing: no disk is written, and no state directory. */
export async function examine({
  target,
  as = [],
  stateHome = path.dirname(STATE),
}: Look): Promise<Finding[]> {
  const before = await fingerprint(target);
  const environment = { XDG_STATE_HOME: stateHome };
  const { stdout } = await tryToRun(['env', ...as, ...lvmsyncCommand('doctor', '--json')], { environment });
  expect(await fingerprint(target)).toEqual(before);
  return (JSON.parse(stdout) as { here: { findings: Finding[] } }).here.findings;
}

async function fingerprint(target: string) {
  const written = DISKS.map((disk) => {
    // What tells writes, and discards, apart from reads.
    const fields = readFileSync(`/sys/block/${disk}/stat`, 'latin1').trim().split(/\s+/);
    return [fields[6], fields[13]];
  });
  const folders = ['/var/lib/lvmsync', PLACE].map((folder) => [...filesIn(folder)]);
  const suspended = (await run(['dmsetup', 'info', '-c', '--noheadings', '-o', 'suspended'])).includes(
    'Suspended',
  );
  const bytes = suspended ? null : await digestOf(target);
  return {
    written,
    folders,
    bytes,
    devices: await run(['dmsetup', 'table']),
    conf: readFileSync('/etc/lvm/lvm.conf', 'utf8'),
  };
}

function* filesIn(folder: string): Generator<string> {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath, entry.name);
    yield entry.isFile() ? `${file}: ${readFileSync(file, 'base64')}` : file;
  }
}

/** Expects one finding that says this, and what to do. */
export function expectFinding(
  findings: readonly Finding[],
  check: string,
  verdict: string,
  text: RegExp,
  advice: RegExp,
) {
  const ofCheck = findings.filter((each) => each.check === check && text.test(each.text));
  expect(ofCheck, JSON.stringify(findings, null, 1)).toMatchObject([
    { verdict, advice: expect.stringMatching(advice) as string },
  ]);
}
