import { CommandError, UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { listVolumes } from './lvs.js';

/** What marks a volume as one that lvmsync makes, until all of it is there. */
const TAG = 'lvmsync.partial';
const SECTOR = 512;

/** A logical volume by its two names. */
export interface VolumeName {
  readonly group: string;
  readonly name: string;
}

/** A volume that is being made, under a name that says so. */
export interface PartialVolume {
  readonly path: string;
  /** Whether it was made just now; else it is left of an earlier run. */
  readonly isNew: boolean;
  /** Gives it the name that it was made for. Throws CommandError. */
  finish(): Promise<void>;
  /** Removes it, once nobody has it open. Throws CommandError. */
  remove(): Promise<void>;
}

/**
 * Makes a volume of at least `size` bytes, thick, or thin in `pool`; or finds the one that an earlier run left. Until
 * `finish` it is called `NAME.partial` and has a tag, so that nobody takes it for whole.
 *
 * Throws CommandError where LVM refuses (no such group, no room); UnsafeTargetError where something is in the way.
 */
export async function makePartialVolume(
  wanted: VolumeName,
  size: number,
  pool: string | null,
  about: Surroundings,
): Promise<PartialVolume> {
  const { group, name } = wanted;
  const partial = `${name}.partial`;
  const path = `/dev/${group}/${partial}`;
  await refuseInactive(wanted, about);
  const left = await findVolume({ group, name: partial }, about);
  if (left === null) await create(group, partial, size, pool, about);
  else checkLeft(path, left, size);
  return {
    path,
    isNew: left === null,
    finish: async () => {
      await runLvm(about, ['lvrename', '-qq', '--', group, partial, name]);
      await runLvm(about, ['lvchange', '-qq', '--deltag', TAG, '--', `${group}/${name}`]);
    },
    remove: () => runLvm(about, ['lvremove', '-qq', '-f', '-y', '--', `${group}/${partial}`]),
  };
}

/** One without a node: its name would be in the way at the very end. */
async function refuseInactive({ group, name }: VolumeName, about: Surroundings): Promise<void> {
  if ((await findVolume({ group, name }, about)) === null) return;
  const advice = `there is such a volume, but not active: lvchange -ay -K ${group}/${name}`;
  throw new UnsafeTargetError(`/dev/${group}/${name}`, advice);
}

interface Left {
  readonly lv_tags: string;
  readonly lv_size: string;
  readonly lv_active: string;
}

function checkLeft(
  path: string,
  { lv_tags: tags, lv_size: bytes, lv_active: active }: Left,
  size: number,
): void {
  const problem = !tags.split(',').includes(TAG)
    ? 'it is in the way, and lvmsync did not make it'
    : active === ''
      ? 'an earlier copy left it, inactive: activate it to go on (lvchange -ay), or remove it'
      : Number(bytes) < size
        ? `an earlier copy left it, and it is too small for this one (${bytes} bytes): remove it first`
        : null;
  if (problem !== null) throw new UnsafeTargetError(path, problem);
}

async function findVolume({ group, name }: VolumeName, about: Surroundings): Promise<Left | null> {
  const columns = ['lv_tags', 'lv_size', 'lv_active'] as const;
  return (await listVolumes(about.spawner, columns, ['--', `${group}/${name}`]))?.[0] ?? null;
}

async function create(
  group: string,
  name: string,
  size: number,
  pool: string | null,
  about: Surroundings,
): Promise<void> {
  // LVM takes whole sectors, and rounds up to what it gives out by itself.
  const bytes = `${Math.ceil(size / SECTOR) * SECTOR}b`;
  const kind = pool === null ? ['-L', bytes] : ['--type', 'thin', '-V', bytes, '--thinpool', pool];
  await runLvm(about, ['lvcreate', '-qq', '-y', ...kind, '--addtag', TAG, '--name', name, '--', group]);
}

async function runLvm(about: Surroundings, argv: readonly [string, ...string[]]): Promise<void> {
  const { status, stderr } = await about.spawner.run(argv);
  if (status !== 0) throw new CommandError(argv, status, stderr, 'LVM refused');
}
