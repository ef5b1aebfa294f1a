import { SECTOR } from '../bytes/extent.js';
import { CommandError, UnsafeTargetError } from '../errors.js';
import { isThere } from '../host/durable-file.js';
import type { Surroundings } from '../host/surroundings.js';
import { UDEV_ADVICE } from '../host/udev.js';
import { findVolume, type VolumeName } from './lvs.js';
import { runLvm } from './run-lvm.js';
/**
 * Why LVM made a volume but did not activate it, as far as that can be known, and what to do.
 *
 * @param entries what volume_list must contain, such as `vg/lv` or `@tag`
 */
export function describeNotActivated(entries: readonly string[]): string {
  const added = entries.map((entry) => `"${entry}"`).join(' and ');
  return (
    'LVM created it but did not activate it, most likely because volume_list in the activation section of lvm.conf ' +
    `does not include it: add ${added} to that list`
  );
}

/** Marks a volume as made by lvmsync, until it is complete. */
export const PARTIAL_TAG = 'lvmsync.partial';
/** A volume that is being made, under a name that says so. */
export interface PartialVolume {
  readonly path: string;
  /** Whether it was made just now; otherwise an earlier run left it. */
  readonly isNew: boolean;
  /** Renames it to the name that it was made for. Throws CommandError. */
  finish(): Promise<void>;
  /** Removes it, once nothing has it open. Throws CommandError. */
  remove(): Promise<void>;
}

/**
 * Makes a volume of at least `size` bytes, thick, or thin in `pool`; or finds the one that an earlier run left. Until
 * `finish` it is called `NAME.partial` and has a tag, so that no one mistakes it for a complete one.
 *
 * Throws CommandError if LVM refuses (no such group, not enough space); UnsafeTargetError if something is in the way.
 */
export async function makePartialVolume(
  wanted: VolumeName,
  size: number,
  pool: string | null,
  env: Surroundings,
): Promise<PartialVolume> {
  const { group, name } = wanted;
  const partial = partialName(wanted);
  const path = `/dev/${group}/${partial}`;
  await refuseWithoutNode(wanted, env);
  const remove = () => runLvm(env.spawner, ['lvremove', '-qq', '-f', '-y', '--', `${group}/${partial}`]);
  const left = await findLeft({ group, name: partial }, env);
  if (left === null) await create(wanted, size, pool, env);
  else checkLeft(path, left, size);
  if (!(await isThere(path))) {
    const made = await findLeft({ group, name: partial }, env).catch(() => null);
    if (left === null) await remove().catch(() => undefined);
    const problem =
      made?.lv_active === ''
        ? describeNotActivated(entriesFor(wanted))
        : `LVM created and activated this volume, but it has no node ${path}: ${UDEV_ADVICE}`;
    throw new CommandError(['lvcreate', `${group}/${name}`], problem, { status: 0 });
  }
  return {
    path,
    isNew: left === null,
    finish: async () => {
      await runLvm(env.spawner, ['lvrename', '-qq', '--', group, partial, name]);
      await runLvm(env.spawner, ['lvchange', '-qq', '--deltag', PARTIAL_TAG, '--', `${group}/${name}`]);
    },
    remove,
  };
}

/** A volume of that name without a node: the rename at the very end would fail. */
async function refuseWithoutNode({ group, name }: VolumeName, env: Surroundings): Promise<void> {
  const found = await findLeft({ group, name }, env);
  if (found === null) return;
  const advice =
    found.lv_active === ''
      ? `this volume exists, but is not active: activate it (lvchange -ay -K ${group}/${name})`
      : `this volume exists and is active, but it has no node under /dev: ${UDEV_ADVICE}`;
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
  const problem = !tags.split(',').includes(PARTIAL_TAG)
    ? 'it is in the way, and lvmsync did not create it: rename or remove it'
    : active === ''
      ? 'an earlier copy left it, and it is inactive: activate it to continue (lvchange -ay), or remove it'
      : Number(bytes) < size
        ? `an earlier copy left it, and it is too small for this one (${bytes} bytes): remove it first`
        : null;
  if (problem !== null) throw new UnsafeTargetError(path, problem);
}

async function findLeft({ group, name }: VolumeName, env: Surroundings): Promise<Left | null> {
  const columns = ['lv_tags', 'lv_size', 'lv_active'] as const;
  return await findVolume(env.spawner, columns, `${group}/${name}`);
}

/** What volume_list must contain for a volume that is being made, and for its final name. */
function entriesFor({ group, name }: VolumeName): string[] {
  return [`@${PARTIAL_TAG}`, `${group}/${name}`];
}

function partialName({ name }: VolumeName): string {
  return `${name}.partial`;
}

async function create(
  wanted: VolumeName,
  size: number,
  pool: string | null,
  env: Surroundings,
): Promise<void> {
  const { group, name } = wanted;
  // LVM accepts whole sectors only, and rounds up to its extent size.
  const bytes = `${Math.ceil(size / SECTOR) * SECTOR}b`;
  const kind = pool === null ? ['-L', bytes] : ['--type', 'thin', '-V', bytes, '--thinpool', pool];
  const how = ['-qq', '-y', ...kind, '--addtag', PARTIAL_TAG, '--name', partialName(wanted)];
  await runLvm(env.spawner, ['lvcreate', ...how, '--', group]).catch((error: unknown) => {
    // LVM 2.03.16 and 2.03.31 say so if they cannot clear the beginning of the new volume.
    if (!(error instanceof CommandError) || !/volume_list activation filter/i.test(error.stderr)) throw error;
    const problem = describeNotActivated(entriesFor(wanted));
    throw new CommandError(['lvcreate', `${group}/${name}`], problem, { status: error.status });
  });
}
