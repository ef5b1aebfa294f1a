import { stat } from 'node:fs/promises';
import { SECTOR } from '../bytes/extent.js';
import { CommandError, UnsafeTargetError } from '../errors.js';
import type { Surroundings } from '../host/surroundings.js';
import { UDEV_ADVICE } from '../host/udev.js';
import { findVolume, type VolumeName } from './lvs.js';
import { runLvm } from './run-lvm.js';
/**
 * Of a volume that LVM made and did not activate: why, as far as that can be known, and what to do.
 *
 * @param entries what volume_list must name, such as `vg/lv` or `@tag`
 */
export function describeNotActivated(entries: readonly string[]): string {
  const added = entries.map((entry) => `"${entry}"`).join(' and ');
  return (
    'LVM made it but did not activate it, most likely because volume_list in the activation section of lvm.conf ' +
    `leaves it out: add ${added} to that list`
  );
}

/** What marks a volume as one that lvmsync makes, until all of it is there. */
export const PARTIAL_TAG = 'lvmsync.partial';
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
  await refuseWithoutNode(wanted, about);
  const remove = () => runLvm(about.spawner, ['lvremove', '-qq', '-f', '-y', '--', `${group}/${partial}`]);
  const left = await findLeft({ group, name: partial }, about);
  if (left === null) await create({ group, name: partial }, size, pool, name, about);
  else checkLeft(path, left, size);
  if (!(await isThere(path))) {
    const made = await findLeft({ group, name: partial }, about).catch(() => null);
    if (left === null) await remove().catch(() => undefined);
    const problem =
      made?.lv_active === ''
        ? describeNotActivated(entriesFor(wanted))
        : `LVM made this volume and activated it, but it has no node ${path}: ${UDEV_ADVICE}`;
    throw new CommandError(['lvcreate', `${group}/${name}`], 0, '', problem);
  }
  return {
    path,
    isNew: left === null,
    finish: async () => {
      await runLvm(about.spawner, ['lvrename', '-qq', '--', group, partial, name]);
      await runLvm(about.spawner, ['lvchange', '-qq', '--deltag', PARTIAL_TAG, '--', `${group}/${name}`]);
    },
    remove,
  };
}

/** One without a node: its name would be in the way at the very end. */
async function refuseWithoutNode({ group, name }: VolumeName, about: Surroundings): Promise<void> {
  const found = await findLeft({ group, name }, about);
  if (found === null) return;
  const advice =
    found.lv_active === ''
      ? `there is such a volume, but not active: lvchange -ay -K ${group}/${name}`
      : `there is such a volume, and it is active, but it has no node under /dev: ${UDEV_ADVICE}`;
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
    ? 'it is in the way, and lvmsync did not make it'
    : active === ''
      ? 'an earlier copy left it, inactive: activate it to go on (lvchange -ay), or remove it'
      : Number(bytes) < size
        ? `an earlier copy left it, and it is too small for this one (${bytes} bytes): remove it first`
        : null;
  if (problem !== null) throw new UnsafeTargetError(path, problem);
}

async function findLeft({ group, name }: VolumeName, about: Surroundings): Promise<Left | null> {
  const columns = ['lv_tags', 'lv_size', 'lv_active'] as const;
  return await findVolume(about.spawner, columns, `${group}/${name}`);
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

/** What volume_list must name for a volume that is being made, and for the one that it becomes. */
function entriesFor({ group, name }: VolumeName): string[] {
  return [`@${PARTIAL_TAG}`, `${group}/${name}`];
}

async function create(
  { group, name }: VolumeName,
  size: number,
  pool: string | null,
  wanted: string,
  about: Surroundings,
): Promise<void> {
  // LVM takes whole sectors, and rounds up to what it gives out by itself.
  const bytes = `${Math.ceil(size / SECTOR) * SECTOR}b`;
  const kind = pool === null ? ['-L', bytes] : ['--type', 'thin', '-V', bytes, '--thinpool', pool];
  const how = ['-qq', '-y', ...kind, '--addtag', PARTIAL_TAG, '--name', name];
  await runLvm(about.spawner, ['lvcreate', ...how, '--', group]).catch((error: unknown) => {
    // LVM 2.03.16 and 2.03.31 say so where they cannot clear the beginning of what they made.
    if (!(error instanceof CommandError) || !/volume_list activation filter/i.test(error.stderr)) throw error;
    const problem = describeNotActivated(entriesFor({ group, name: wanted }));
    throw new CommandError(['lvcreate', `${group}/${wanted}`], error.status, '', problem);
  });
}
