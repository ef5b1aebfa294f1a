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
import type { ForeignWrites } from './foreign-writes.js';
import { findHolder, findLoop, findMount, findSwap } from './holders.js';
import { findOpener, type Openers } from './openers.js';
import { findOverlap, type SourceStack } from './source-stack.js';

export { stackOf, type SourceStack } from './source-stack.js';

/** udev and LVM open a device for a moment after it was created, or closed by a writer. */
const PATIENCE_MS = 1000;
const PAUSE_MS = 50;
/** Less than PATIENCE_MS: of two runs that start together, the one that has the lock sees the other one leave. */
const LOCK_PATIENCE_MS = 500;
const OWN_OPENS = 1;

export interface GuardOptions {
  readonly spawner: Spawner;
  /** The sources on this host that this run reads. */
  readonly sources: readonly SourceStack[];
}

/**
 * Makes sure that no one else uses a target before we open it: finds uses that an exclusive open does not. Ignores what
 * we have no permission to see.
 *
 * Throws UnsafeTargetError, which says what uses it and what to do; DeviceError if there is no target.
 */
export async function guardTarget(path: string, { spawner, sources }: GuardOptions): Promise<void> {
  const target = await identify(path);
  for (const source of sources) refuse(path, asIt(await findOverlap(target, source)));
  refuse(path, await findUse(path, target, 'anyone', spawner));
  const realPath = await realpath(path);
  refuse(path, asIt(await waitForOpeners(() => findAnyOpener(realPath, target, spawner, 0))));
}

/**
 * Makes sure that no one else uses a target that we just opened: takes a lock on it that every other lvmsync checks,
 * whatever its state directory and user; takes QEMU's own locks; and looks again for processes that opened it at the
 * same time.
 *
 * Throws LockedError, UnsafeTargetError, and DeviceError if it cannot be locked.
 */
export async function holdAlone(device: LocalDevice, spawner: Spawner): Promise<void> {
  const { path } = device;
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  while (!(await device.lock())) {
    if (performance.now() >= deadline) {
      const holder = 'another program, most likely an lvmsync with another state directory';
      throw new LockedError(`the target ${path}`, holder, 'wait until it ends (as root, lslocks shows it)');
    }
    await sleep(PAUSE_MS);
  }
  const realPath = await device.realPath();
  const target = device.number ?? (await identify(realPath));
  const openers = () => findAnyOpener(realPath, target, spawner, OWN_OPENS);
  // Visible processes are reported by name. QEMU's locks also reveal a QEMU that is not visible here.
  refuse(path, asIt(await waitForOpeners(async () => (await openers()) ?? (await findQemu(device)))));
}

/**
 * Checks once more that no one else uses a target that we have written, because locks are advisory and not every open
 * is refused. Readers do not count. Throws UnsafeTargetError.
 *
 * @param foreign watches for writes of others
 */
export async function checkStillAlone(
  device: LocalDevice,
  foreign: ForeignWrites | null,
  spawner: Spawner,
): Promise<void> {
  const { path } = device;
  // The path of the open device: its name may point elsewhere by now.
  const realPath = await device.realPath();
  const target = device.number ?? (await identify(realPath));
  const openers = () => findWriter(realPath, target, spawner);
  const found =
    (await findUse(realPath, target, 'writers', spawner)) ??
    asIt((await waitForOpeners(openers)) ?? (await findQemu(device)) ?? (await foreign?.find()) ?? null);
  if (found === null) return;
  throw new UnsafeTargetError(
    path,
    `something else used it during the run, so its contents are not known: ${found}`,
  );
}

async function identify(path: string): Promise<DeviceNumber | FileIdentity> {
  const stats = await stat(path).catch((error: unknown) => {
    throw new DeviceError(path, 'stat', null, error);
  });
  if (stats.isBlockDevice()) return deviceNumberOf(stats);
  if (stats.isFile()) return { dev: stats.dev, ino: stats.ino };
  throw new UnsafeTargetError(path, 'neither a block device nor a regular file');
}

/** What uses a target, other than processes that have the target itself open. */
async function findUse(
  path: string,
  target: DeviceNumber | FileIdentity,
  who: Openers,
  spawner: Spawner,
): Promise<string | null> {
  if (typeof target !== 'string') return asIt((await findSwap(target)) ?? (await findLoop(spawner, target)));
  return asIt(await findClaim(target, spawner)) ?? (await findUseAround(path, target, who, spawner));
}

/** A device, its partitions and the disk that it is a partition of share their bytes. */
async function findUseAround(
  path: string,
  number: DeviceNumber,
  who: Openers,
  spawner: Spawner,
): Promise<string | null> {
  for (const each of await partitionsOf(number)) {
    const found = (await findClaim(each.number, spawner)) ?? findOpener(each.number, who, path);
    if (found !== null) return `${nameOf('its partition', each)} is ${found}`;
  }
  for (const file of (await groundOf(number)).files) {
    const found = findOpener(file, 'writers', path);
    if (found !== null) return `an image file underneath it is ${found}`;
  }
  const disk = await diskOf(number);
  if (disk === null) return null;
  const found = (await findClaim(disk.number, spawner)) ?? findOpener(disk.number, 'writers', path);
  return found === null ? null : `${nameOf('its disk', disk)} is ${found}`;
}

async function findClaim(number: DeviceNumber, spawner: Spawner): Promise<string | null> {
  return (
    (await findSwap(number)) ??
    (await findMount(number)) ??
    (await findHolder(number)) ??
    (await findLoop(spawner, number))
  );
}

/** A process that keeps it open. Waits for those that open it only for a moment. */
async function waitForOpeners(look: () => Promise<string | null>): Promise<string | null> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const reason = await look();
    if (reason === null || performance.now() >= deadline) return reason;
    await sleep(PAUSE_MS);
  }
}

/** Another process that has the target open before we write. For a file, only one that may write to it. */
async function findAnyOpener(
  realPath: string,
  target: DeviceNumber | FileIdentity,
  spawner: Spawner,
  ownOpens: number,
): Promise<string | null> {
  if (typeof target !== 'string') return findOpener(target, 'writers', realPath);
  return findOpener(target, 'anyone', realPath) ?? (await findUnnamedOpener(target, spawner, ownOpens));
}

/** Another process that may write to it. */
async function findWriter(
  realPath: string,
  target: DeviceNumber | FileIdentity,
  spawner: Spawner,
): Promise<string | null> {
  const writer = findOpener(target, 'writers', realPath);
  if (writer !== null || typeof target !== 'string') return writer;
  // The visible readers account for device-mapper's count.
  if (findOpener(target, 'anyone', realPath) !== null) return null;
  return await findUnnamedOpener(target, spawner, OWN_OPENS);
}

/** A user of QEMU's locks, in words after "it is"; also on another host, if the file system shares locks. */
async function findQemu(device: LocalDevice): Promise<string | null> {
  if (await device.keepQemuOut()) return null;
  return "open in QEMU, as QEMU's own locks show (a virtual machine, qemu-nbd, qemu-img): stop that first";
}

/**
 * Finds a program in another process namespace, or a use by the kernel itself: device-mapper counts opens, without
 * names.
 */
async function findUnnamedOpener(
  number: DeviceNumber,
  spawner: Spawner,
  ownOpens: number,
): Promise<string | null> {
  if ((await readAttribute(`/sys/dev/block/${number}/dm/name`)) === null) return null;
  const info = await new DeviceMapper(spawner).info(number).catch((error: unknown) => {
    // Without permission to ask, the exclusive open still protects against every exclusive use of the device.
    if (error instanceof CommandError) return null;
    throw error;
  });
  const others = (info?.openCount ?? 0) - ownOpens;
  if (others <= 0) return null;
  const times = others === 1 ? 'once' : `${others} times`;
  return (
    `open ${times} by device-mapper's count, by something that is not visible here (in a container, or in the kernel): ` +
    `find it (lsof, nvme, targetcli, drbdadm in every namespace) and stop it first`
  );
}

function refuse(path: string, reason: string | null): void {
  if (reason !== null) throw new UnsafeTargetError(path, reason);
}

function asIt(found: string | null): string | null {
  return found === null ? null : `it is ${found}`;
}

function nameOf(what: string, { kernelName, dmName }: NamedDevice): string {
  return `${what} ${dmName ?? kernelName}`;
}
