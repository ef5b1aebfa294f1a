import type { Surroundings } from '../host/surroundings.js';
import { PARTIAL_TAG } from '../lvm/create-volume.js';
import { adviseRename, describeSameName, listGroups, type GroupRow } from '../lvm/lvs.js';
import { askLvm } from '../lvm/run-lvm.js';
import { STORE_TAG } from '../snapshots/store-volume.js';
import { TEMPORARY_TAG } from '../snapshots/temporary-snapshot.js';
import { ok, problem, warning, type Finding } from './finding.js';

/** What marks the volumes that runs make: for a copy, for a thin volume in use, for a view. */
const OWN_TAGS = [PARTIAL_TAG, TEMPORARY_TAG, STORE_TAG];

/** What makes LVM refuse volumes that are there, or that a run makes. Throws CommandError. */
export async function examineVolumes(about: Surroundings): Promise<Finding[]> {
  const groups = await listGroups(about.spawner);
  return [judgeNames(groups), ...(await examineActivation(groups, about))];
}

function judgeNames(groups: readonly GroupRow[]): Finding {
  const check = 'volume groups';
  for (const { vg_name: name } of groups) {
    const same = groups.filter((each) => each.vg_name === name);
    if (same.length > 1) return problem(check, describeSameName(same), adviseRename(same));
  }
  return ok(check, `${groups.length}, each with a name of its own`);
}

async function examineActivation(groups: readonly GroupRow[], { spawner }: Surroundings): Promise<Finding[]> {
  const words = ['lvmconfig', '--type', 'full', 'activation/volume_list'] as const;
  const list = /^volume_list=(.*)$/m.exec((await askLvm(spawner, words)).stdout)?.[1];
  if (list === undefined) return [];
  const text = `lvm.conf lets LVM activate only what volume_list names: ${list}`;
  const lacks = (entry: string) => !list.includes(`"${entry}"`);
  const tags = OWN_TAGS.map((tag) => `@${tag}`).filter(lacks);
  const outside = groups.map((each) => each.vg_name).filter(lacks);
  if (tags.length === 0 || outside.length === 0) return [ok('activation', text)];
  const added = tags.map((tag) => `"${tag}"`).join(', ');
  const advice = `what lvmsync makes in ${outside.join(', ')} stays inactive, and is of no use: add ${added} to that list`;
  return [warning('activation', text, advice)];
}
