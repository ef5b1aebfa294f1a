import { realpath, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { deviceNumberOf, type DeviceNumber } from '../device/device-facts.js';
import type { LocalDevice } from '../device/local-device.js';
import { CommandError, DeviceError, LockedError, UnsafeTargetError } from '../errors.js';
import type { Spawner } from '../host/spawner.js';
import { DeviceMapper } from '../lvm/device-mapper.js';
import {
  diskOf,
  groundOf,
  partitionsOf,
  readAttribute,
  type FileIdentity,
  type NamedDevice,
} from './device-tree.js';
import { findHolder, findLoop, findMount, findSwap } from './holders.js';
import { findOpener } from './openers.js';
import { findOverlap, type SourceStack } from './source-stack.js';

export { stackOf, type SourceStack } from './source-stack.js';

/** udev and LVM look into a device for a moment whenever it was made, or closed by whoever wrote to it. */
const PATIENCE_MS = 1000;
const PAUSE_MS = 50;
/** Less than that: of two who come at once, the one that has the lock sees the other go. */
const LOCK_PATIENCE_MS = 500;

export interface GuardOptions {
  readonly spawner: Spawner;
  /** What this run reads from on this host. */
  readonly sources: readonly SourceStack[];
}

/**
 * Makes sure that nobody else uses a target, before we open it ourselves: what an exclusive open does not see. What
 * we have no right to see is passed over.
 *
 * Throws UnsafeTargetError, which names what holds it and what to do; DeviceError where there is no target.
 */
export async function guardTarget(path: string, { spawner, sources }: GuardOptions): Promise<void> {
  const target = await identify(path);
  for (const source of sources) refuse(path, 'it', await findOverlap(target, source));
  refuse(path, 'it', await findSwap(target));
  if (typeof target === 'string') await guardDevice(path, target, spawner);
  else refuse(path, 'it', await findLoop(spawner, target));
  await guardFromOpeners(path, target, spawner, 0);
}

/**
 * Makes sure, of a target that we just opened, that we stay alone with it: by a lock on it that other lvmsyncs meet
 * whatever their state directory and user, and by another look for who opened it while we did.
 *
 * Throws LockedError, UnsafeTargetError, DeviceError where it cannot be locked.
 */
export async function holdAlone(device: LocalDevice, spawner: Spawner): Promise<void> {
  const { path } = device;
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  while (!(await device.lock())) {
    if (performance.now() >= deadline) {
      const holder = 'another program, most likely an lvmsync with another state directory';
      throw new LockedError(
        `the target ${path}`,
        holder,
        'wait until it has ended (as root, lslocks names it)',
      );
    }
    await sleep(PAUSE_MS);
  }
  await guardFromOpeners(path, await identify(path), spawner, 1);
}

async function identify(path: string): Promise<DeviceNumber | FileIdentity> {
  const stats = await stat(path).catch((error: unknown) => {
    throw new DeviceError(path, 'stat', null, error);
  });
  if (stats.isBlockDevice()) return deviceNumberOf(stats);
  if (stats.isFile()) return { dev: stats.dev, ino: stats.ino };
  throw new UnsafeTargetError(path, 'neither a block device nor a regular file');
}

/** A device, its partitions and the disk that it is a partition of share their bytes. */
async function guardDevice(path: string, number: DeviceNumber, spawner: Spawner): Promise<void> {
  refuse(path, 'it', await findClaim(number, spawner));
  for (const each of await partitionsOf(number)) {
    const subject = nameOf('its partition', each);
    refuse(path, subject, await findSwap(each.number));
    refuse(path, subject, await findClaim(each.number, spawner));
    refuse(path, subject, findOpener(each.number, 'anyone', path));
  }
  for (const file of (await groundOf(number)).files) {
    refuse(path, 'an image file underneath it', findOpener(file, 'writers', path));
  }
  const disk = await diskOf(number);
  if (disk === null) return;
  const subject = nameOf('its disk', disk);
  refuse(path, subject, await findSwap(disk.number));
  refuse(path, subject, await findClaim(disk.number, spawner));
  refuse(path, subject, findOpener(disk.number, 'writers', path));
}

async function findClaim(number: DeviceNumber, spawner: Spawner): Promise<string | null> {
  return (await findMount(number)) ?? (await findHolder(number)) ?? (await findLoop(spawner, number));
}

/** Refuses what stays open, beside what this process opened; whoever only has a quick look is waited for. */
async function guardFromOpeners(
  path: string,
  target: DeviceNumber | FileIdentity,
  spawner: Spawner,
  ownOpens: number,
): Promise<void> {
  const realPath = await realpath(path);
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const reason =
      typeof target === 'string'
        ? (findOpener(target, 'anyone', realPath) ?? (await findUnnamedOpener(target, spawner, ownOpens)))
        : findOpener(target, 'writers', realPath);
    if (reason === null) return;
    if (performance.now() >= deadline) refuse(path, 'it', reason);
    await sleep(PAUSE_MS);
  }
}

/** For a program of another process namespace, or the kernel's own use: device-mapper counts, and names nobody. */
async function findUnnamedOpener(
  number: DeviceNumber,
  spawner: Spawner,
  ownOpens: number,
): Promise<string | null> {
  if ((await readAttribute(`/sys/dev/block/${number}/dm/name`)) === null) return null;
  const info = await new DeviceMapper(spawner).info(number).catch((error: unknown) => {
    // Without the right to ask, the exclusive open still protects from all that claims the device.
    if (error instanceof CommandError) return null;
    throw error;
  });
  const others = (info?.openCount ?? 0) - ownOpens;
  if (others <= 0) return null;
  const times = others === 1 ? 'once' : `${others} times`;
  return (
    `open ${times}, as device-mapper counts, by what does not show here (a container, the kernel itself): ` +
    `find it (lsof, nvme, targetcli, drbdadm in every namespace) and let it end first`
  );
}

function refuse(path: string, subject: string, reason: string | null): void {
  if (reason !== null) throw new UnsafeTargetError(path, `${subject} is ${reason}`);
}

function nameOf(what: string, { kernelName, dmName }: NamedDevice): string {
  return `${what} ${dmName ?? kernelName}`;
}
