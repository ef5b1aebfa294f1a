import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { release } from 'node:os';
import { countOf } from '../bytes/amounts.js';
import { CommandError } from '../errors.js';
import type { CommandResult } from '../host/spawner.js';
import type { Surroundings } from '../host/surroundings.js';
import { ASK_THIN_DELTA, judgeThinDelta, WITHOUT_THIN_DELTA } from '../snapshots/thin-tools.js';
import { sudoersLine } from '../transport/far-exit.js';
import { examineDevices } from './examine-devices.js';
import {
  examineGroups,
  examineNodes,
  readVolumes,
  type UdevPresence,
  type VolumeRow,
  examineVolumes,
} from './examine-groups.js';
import { examineLeftOvers, examineOtherStateDirs, examineOurVolumes } from './examine-left-overs.js';
import { examineStateDir } from './examine-state-dir.js';
import { ok, problem, warning, type Finding, impatient, orSlow } from './finding.js';

/** The role of a host in a transfer: it reads changes, it writes them, or the role is not known. */
export type HostRole = 'source' | 'target' | 'any';

/** What only the process itself knows about itself. */
export interface HostSelf {
  /** Node's version, such as `20.19.0`. */
  readonly node: string;
  /** The path that lvmsync was started from. */
  readonly program: string;
  readonly user: string;
  readonly isRoot: boolean;
  readonly udev: UdevPresence;
  /** The state directories that runs of this user use in another environment: as root, under cron. */
  readonly otherStateDirs: readonly string[];
}

/**
 * Everything about a host; or only what does not name volumes and runs, for clients that may only write some volumes.
 */
export type Scope = 'everything' | 'itself';

/** The oldest Node that this program runs on. */
const LEAST_NODE = [20, 19] as const;

/**
 * Examines what a transfer needs on this host. Changes nothing, and does not wait: a program or disk that does not
 * answer within seconds is a finding.
 */
export async function examineHost(
  role: HostRole,
  self: HostSelf,
  scope: Scope,
  surroundings: Surroundings,
): Promise<Finding[]> {
  const env = { ...surroundings, spawner: impatient(surroundings.spawner) };
  const lvm = await examineLvm(role, self, scope, env);
  const alone = (slow: Finding) => [slow];
  return [
    examineVersions(self, env),
    await examineRights(role, self, env),
    ...lvm.findings,
    await examineDeviceMapper(role, env),
    ...(scope === 'itself' ? [] : await orSlow('devices', examineDevices(), alone)),
    await examineThinTools(role, env),
    ...(await orSlow('state directory', examineStateDir(env.stateDir), alone)),
    ...(scope === 'itself'
      ? []
      : await orSlow('left over', examineEarlierRuns(self, lvm.volumes, env), alone)),
  ];
}

function examineVersions({ node, program }: HostSelf, { version }: Surroundings): Finding {
  const text = `lvmsync ${version} (${program}), Node ${node}, Linux ${release()}`;
  const [major = 0, minor = 0] = node.split('.').map(Number);
  const isRecent = major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1]);
  return isRecent
    ? ok('versions', text)
    : problem('versions', text, `install Node ${LEAST_NODE.join('.')} or newer`);
}

async function examineRights(
  role: HostRole,
  { isRoot, user, program }: HostSelf,
  env: Surroundings,
): Promise<Finding> {
  if (isRoot) return ok('rights', 'root: every device can be read and written');
  const { writable, all } = await countDevices();
  const text = `${user} may read and write ${writable} of ${all} block devices`;
  if (writable > 0 && role === 'target') return ok('rights', text);
  const allowed = await tryCommand(env, ['sudo', '-n', '-l', '--', program, 'receive']);
  const bySudo =
    allowed?.status === 0
      ? 'sudo lets this user run it as root (on the far side: --sudo)'
      : `put this line into /etc/sudoers.d/lvmsync (visudo -f) and use sudo, or --sudo: ${sudoersLine(user, program)}`;
  if (writable > 0) return warning('rights', `${text}, but only root can read a snapshot's table`, bySudo);
  return problem('rights', text, `be root, or in the group disk as a target; ${bySudo}`);
}

async function countDevices(): Promise<{ writable: number; all: number }> {
  const names = await readdir('/sys/class/block').catch(() => []);
  const can = await Promise.all(
    names.map((name) =>
      access(`/dev/${name.replaceAll('!', '/')}`, constants.R_OK | constants.W_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return { writable: can.filter(Boolean).length, all: names.length };
}

/** A source needs these; a target may be a host without LVM; if the role is not known, it is a warning. */
function lacking(role: HostRole, check: string, text: string, advice: string): Finding {
  if (role === 'target') return ok(check, `${text}; a target does not need it`);
  return role === 'source'
    ? problem(check, text, advice)
    : warning(check, `${text}; a source needs it`, advice);
}

/** The findings about LVM, and the volumes that it shows. */
interface LvmLook {
  readonly findings: readonly Finding[];
  readonly volumes: readonly VolumeRow[];
}

async function examineLvm(role: HostRole, self: HostSelf, scope: Scope, env: Surroundings): Promise<LvmLook> {
  const version = await tryCommand(env, ['lvm', 'version']);
  if (version === null)
    return { findings: [lacking(role, 'lvm', 'lvm2 is not installed', 'install lvm2')], volumes: [] };
  const name = `LVM ${/LVM version:\s*(\S+)/.exec(version.stdout)?.[1] ?? '(unknown version)'}`;
  try {
    const volumes = await readVolumes(env);
    const known = ok('lvm', `${name}, which knows ${countOf(volumes.length, 'logical volume')}`);
    const nodes = await examineNodes(self.udev, volumes, scope === 'everything', env);
    const groups =
      scope === 'itself' ? [] : [...(await examineVolumes(env)), ...(await examineGroups(volumes, env))];
    return { findings: [known, nodes, ...groups], volumes };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const said = scope === 'itself' ? '' : ` (${error.message})`;
    return { findings: [describeSilence(role, name, said, error.mayNotAsk)], volumes: [] };
  }
}

/** LVM is installed but does not answer: what it knows is unknown, which is not the same as "no volumes". */
function describeSilence(role: HostRole, name: string, said: string, mayNotAsk: boolean): Finding {
  if (mayNotAsk) {
    const text = `${name} does not answer this user${said}, so a volume that has snapshots or is in a thin pool is refused as a target`;
    const advice = 'run as root (on the far side: --sudo)';
    return role === 'source' ? problem('lvm', text, advice) : warning('lvm', text, advice);
  }
  const text = `${name} does not answer${said}, so its volumes are refused as targets`;
  return problem('lvm', text, 'run as root; check the output of "lvs"');
}

/** What earlier runs left in LVM and in state directories: the one in use, and others of this user. */
async function examineEarlierRuns(
  { otherStateDirs }: HostSelf,
  volumes: readonly VolumeRow[],
  env: Surroundings,
): Promise<Finding[]> {
  return [
    ...(await examineOurVolumes(volumes, env.stateDir)),
    ...(await examineLeftOvers(volumes, { stateDir: env.stateDir, isUsual: true }, env)),
    ...(await examineOtherStateDirs(otherStateDirs, volumes, env)),
  ];
}

async function examineDeviceMapper(role: HostRole, env: Surroundings): Promise<Finding> {
  const check = 'device-mapper';
  const version = await tryCommand(env, ['dmsetup', 'version']);
  if (version === null) return lacking(role, check, 'dmsetup is not installed', 'install dmsetup');
  const library = /Library version:\s*(\S+)/.exec(version.stdout)?.[1] ?? '?';
  const driver = /Driver version:\s*(\S+)/.exec(version.stdout)?.[1];
  const targets = driver === undefined ? null : await tryCommand(env, ['dmsetup', 'targets']);
  if (driver === undefined || targets?.status !== 0) {
    const text = `dmsetup ${library} cannot ask the kernel${lastWord(targets ?? version)}`;
    return lacking(role, check, text, 'as root, load the module dm-mod');
  }
  const known = targets.stdout.split('\n').map((line) => line.split(/\s/)[0] ?? '');
  const told = ['snapshot', 'thin'].map(
    (name) => `${name} ${known.includes(name) ? 'loaded' : 'not loaded'}`,
  );
  const text = `dmsetup ${library}, driver ${driver}; targets: ${told.join(', ')}`;
  if (known.includes('snapshot') || role !== 'source') return ok(check, text);
  return warning(check, text, 'if snapshots cannot be made: modprobe dm-snapshot');
}

async function examineThinTools(role: HostRole, env: Surroundings): Promise<Finding> {
  const check = 'thin tools';
  const asked = await tryCommand(env, ASK_THIN_DELTA);
  if (asked === null) return ok(check, 'not installed; only thin volumes need them');
  const { version, problem: wrong } = judgeThinDelta(asked.stdout);
  if (wrong === null) return ok(check, `thin_delta ${version}`);
  const text = `thin_delta: ${wrong}${lastWord(asked)}`;
  // A target does not run thin_delta, unless this host becomes a source.
  return role === 'target'
    ? warning(check, text, WITHOUT_THIN_DELTA)
    : problem(check, text, WITHOUT_THIN_DELTA);
}

/** Null if there is no such program. */
async function tryCommand(
  { spawner }: Surroundings,
  argv: readonly [string, ...string[]],
): Promise<CommandResult | null> {
  try {
    return await spawner.run(argv);
  } catch (error) {
    if (error instanceof CommandError) return null;
    throw error;
  }
}

function lastWord(result: CommandResult | null): string {
  const line = result?.stderr.trim().split('\n').at(-1) ?? '';
  return line === '' ? '' : ` (${line})`;
}
