import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { isDeviceNumber, nodeOf } from '../lvm/device-node.js';
import { readAttribute } from '../usage/device-tree.js';
import { blindnessIn, writeStampOf } from '../usage/write-stamp.js';
import { listNames, problem, warning, type Finding } from './finding.js';

const BLOCK_DEVICES = '/sys/class/block';
/** LVM's inner devices, which are never a target. */
const INNER = /^LVM-[A-Za-z0-9]{64}-/;

/** A device of device-mapper's. */
interface MappedDevice {
  readonly name: string;
  readonly uuid: string;
}

/** All device-mapper devices, from the kernel: LVM may not show all of them. */
export async function listMappedDevices(): Promise<MappedDevice[]> {
  const devices: MappedDevice[] = [];
  for (const kernelName of await listBlockDevices()) {
    const folder = `${BLOCK_DEVICES}/${kernelName}/dm`;
    const name = await readAttribute(`${folder}/name`);
    const uuid = (await readAttribute(`${folder}/uuid`)) ?? '';
    if (name !== null && !INNER.test(uuid)) devices.push({ name, uuid });
  }
  return devices;
}

/** Finds suspended devices, and devices on which the kernel does not count all writes. */
export async function examineDevices(): Promise<Finding[]> {
  const suspended: string[] = [];
  const blind = new Map<string, string[]>();
  for (const kernelName of await listBlockDevices()) {
    const folder = `${BLOCK_DEVICES}/${kernelName}`;
    const name = (await readAttribute(`${folder}/dm/name`)) ?? kernelName;
    if ((await readAttribute(`${folder}/dm/suspended`)) === '1') suspended.push(name);
    else if (await isCandidate(folder)) {
      const why = await whyBlind((await readAttribute(`${folder}/dev`)) ?? '');
      if (why !== null) blind.set(why, [...(blind.get(why) ?? []), name]);
    }
  }
  const findings = [...blind].map(([why, names]) => describeBlind(why, names));
  if (suspended.length === 0) return findings;
  const text = `${listNames(suspended)}: suspended, so every program that reads or writes it hangs, also those of LVM`;
  const advice =
    'if nothing is working on it right now (such as lvcreate or pvmove), resume it: dmsetup resume NAME';
  return [problem('suspended devices', text, advice), ...findings];
}

/** Whether a device may be a target: a disk or a volume, with a size. Partitions go with their disk. */
async function isCandidate(folder: string): Promise<boolean> {
  const size = await readAttribute(`${folder}/size`);
  const isPart = (await readAttribute(`${folder}/partition`)) !== null;
  const uuid = (await readAttribute(`${folder}/dm/uuid`)) ?? '';
  return size !== null && size !== '0' && !isPart && !INNER.test(uuid);
}

/** Why the kernel's count of a device's writes is incomplete; null if it is complete, or if we may not look. */
async function whyBlind(number: string): Promise<string | null> {
  if (!isDeviceNumber(number)) return null;
  try {
    await access(await nodeOf(number), constants.R_OK);
    return blindnessIn(await writeStampOf(number));
  } catch {
    return null;
  }
}

function describeBlind(why: string, names: readonly string[]): Finding {
  const text = `${listNames(names)}: ${why}, so what lvmsync records about a target there is never certain`;
  const advice = why.includes('iostats')
    ? 'run "echo 1 > /sys/class/block/NAME/queue/iostats", and make it permanent with a udev rule'
    : 'let only one host write to it, and compare it from time to time (lvmsync verify)';
  return warning('write counts', text, advice);
}

async function listBlockDevices(): Promise<string[]> {
  const names: string[] = await readdir(BLOCK_DEVICES).catch(() => []);
  return names.sort();
}
