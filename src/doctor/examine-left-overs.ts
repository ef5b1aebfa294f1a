import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { countOf } from '../bytes/amounts.js';
import { describeCause, LvmsyncError } from '../errors.js';
import { readIfThere } from '../host/durable-file.js';
import { lookAtLock } from '../host/run-lock.js';
import type { Surroundings } from '../host/surroundings.js';
import { readNote } from '../journal/apply-note.js';
import { PARTIAL_TAG } from '../lvm/create-volume.js';
import { TEMPORARY_TAG } from '../snapshots/temporary-snapshot.js';
import { showCommand } from '../transport/shell-words.js';
import { readViews } from '../view/view-record.js';
import type { VolumeRow } from './examine-groups.js';
import { listNames, problem, warning, type Finding } from './finding.js';

const CHECK = 'left over';
const MINUTE = 60_000;

/** A state directory, as a doctor looks at it. */
interface Place {
  readonly stateDir: string;
  /** Whether it is the one that a run without `--state-dir` uses. */
  readonly isUsual: boolean;
}

/**
 * What interrupted runs left in a state directory, and in LVM: journals, half-copied targets, temporary snapshots,
 * volumes and views that were never finished. Does not list what a run is still working on.
 */
export async function examineLeftOvers(
  volumes: readonly VolumeRow[],
  place: Place,
  env: Surroundings,
): Promise<Finding[]> {
  const keys = await listFolder(join(place.stateDir, 'targets'));
  const findings: Finding[] = [];
  for (const key of keys) findings.push(...(await examineTarget(key, volumes, place, env)));
  return [...findings, ...(await examineViews(place))];
}

/** LVM volumes that only a killed run leaves behind. */
export async function examineOurVolumes(volumes: readonly VolumeRow[], stateDir: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { lv_full_name: name, lv_tags: tags } of volumes) {
    const all = tags.split(',');
    if (all.includes(PARTIAL_TAG)) {
      const text = `${name}: an earlier "lvmsync copy --create" was cut short; the volume is not whole`;
      const advice = `where no lvmsync runs, repeat that copy, which goes on where it was cut, or remove it (lvremove ${name})`;
      findings.push(warning(CHECK, text, advice));
    } else if (all.includes(TEMPORARY_TAG)) {
      const lock = await lookAtLock(join(stateDir, 'temporary', name, 'lock'));
      if (lock?.isHeld === true) continue;
      const text = `${name}: a temporary snapshot of a run that was killed; it takes room in its pool`;
      const advice = `the next run in its volume group removes it; or, where no lvmsync runs: lvremove ${name}`;
      findings.push(warning(CHECK, text, advice));
    }
  }
  return findings;
}

/** Other state directories in use on this host: a run with one does not see the journals and records in the others. */
export async function examineOtherStateDirs(
  others: readonly string[],
  volumes: readonly VolumeRow[],
  env: Surroundings,
): Promise<Finding[]> {
  const { stateDir } = env;
  const own = new Set(await listFolder(join(stateDir, 'targets')));
  const findings: Finding[] = [];
  for (const other of others) {
    if ((await realpath(other).catch(() => other)) === (await realpath(stateDir).catch(() => stateDir)))
      continue;
    const keys = await listFolder(join(other, 'targets'));
    if (keys.length === 0) continue;
    const common = keys.filter((key) => own.has(key)).map((key) => nameOf(key, volumes));
    const same = common.length === 0 ? 'other targets' : `the same targets, ${listNames(common)}`;
    findings.push(
      warning(
        'other state directory',
        `this run uses ${stateDir}; ${other} has records too, of ${same}: neither knows what runs with the other one wrote`,
        'use one for all runs: --state-dir, or the same XDG_STATE_HOME for your shell, sudo and cron',
      ),
      ...(await examineLeftOvers(volumes, { stateDir: other, isUsual: false }, env)),
    );
  }
  return findings;
}

async function examineTarget(
  key: string,
  volumes: readonly VolumeRow[],
  { stateDir, isUsual }: Place,
  env: Surroundings,
): Promise<Finding[]> {
  const folder = join(stateDir, 'targets', key);
  const lock = await lookAtLock(join(folder, 'lock'));
  if (lock?.isHeld === true) return [];
  const name = nameOf(key, volumes);
  const words = lock?.words ?? '';
  const killed = words === '' ? '' : `; it was ${words}, and is there no more`;
  try {
    if ((await readNote(folder)) !== null) {
      const age = describeAge(env.now().getTime() - (await stat(join(folder, 'apply.json'))).mtimeMs);
      const target = name.startsWith('/dev/') ? name : 'TARGET';
      const recover = ['lvmsync', 'recover', ...(isUsual ? [] : ['--state-dir', stateDir]), target];
      const text = `${name} is half-written: an apply to it was cut short ${age} ago${killed}; its journal is ${folder}`;
      return [problem(CHECK, text, `repeat that run, or take the target back: ${showCommand(recover)}`)];
    }
    if (await isHalfCopied(folder)) {
      const text = `${name} is half-copied: a full copy to it was cut short${killed}`;
      return [
        warning(
          CHECK,
          text,
          'repeat that copy: it continues where it stopped, if nothing wrote to the target since',
        ),
      ];
    }
    return [];
  } catch (error) {
    if (!(error instanceof LvmsyncError)) throw error;
    return [problem(CHECK, `${name}: ${error.message}`, `look into ${folder}`)];
  }
}

async function isHalfCopied(folder: string): Promise<boolean> {
  const text = await readIfThere(join(folder, 'state.json'));
  const record = v.safeParse(v.pipe(v.string(), v.parseJson(), v.object({ is: v.string() })), text);
  return record.success && record.output.is === 'copying';
}

async function examineViews({ stateDir }: Place): Promise<Finding[]> {
  try {
    const findings: Finding[] = [];
    for (const { name, step, target } of await readViews(stateDir)) {
      const lock = await lookAtLock(join(stateDir, 'views', name, 'lock'));
      if (step === 'open' || lock?.isHeld === true) continue;
      const text = `the view ${name} of ${target} was cut short while it was opened`;
      findings.push(warning(CHECK, text, `remove what is left of it: lvmsync view close ${name}`));
    }
    return findings;
  } catch (error) {
    return [
      problem(CHECK, `the views of ${stateDir}: ${describeCause(error)}`, `look into ${stateDir}/views`),
    ];
  }
}

/** The path of the target that a folder belongs to; if LVM does not show the volume, words for it. */
function nameOf(key: string, volumes: readonly VolumeRow[]): string {
  const volume = volumes.find(
    (each) => key === `LVM-${each.vg_uuid}${each.lv_uuid}`.replaceAll(/(?<=^LVM-.*)-/g, ''),
  );
  if (volume !== undefined) return `/dev/${volume.lv_full_name}`;
  return key.startsWith('file-') ? `an image file (${key})` : key;
}

function describeAge(milliseconds: number): string {
  const minutes = Math.max(0, Math.floor(milliseconds / MINUTE));
  if (minutes < 120) return countOf(minutes, 'minute');
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? countOf(hours, 'hour') : countOf(Math.floor(hours / 24), 'day');
}

async function listFolder(path: string): Promise<string[]> {
  const names: string[] = await readdir(path).catch(() => []);
  return names.sort();
}
