import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { readReadSectors, type DeviceNumber } from '../device/device-facts.js';
import { allocateAligned, freeAligned } from '../memory/aligned-memory.js';
import { nodeOf } from './device-node.js';

/** The largest sector size. Bytes. */
const SECTOR = 4096;

/** Whether the kernel counts what is written to a device. */
export async function countsWrites(number: DeviceNumber): Promise<boolean> {
  const folder = `/sys/dev/block/${number}`;
  // A partition has no queue of its own.
  const setting = (await readSetting(`${folder}/queue`)) ?? (await readSetting(`${folder}/../queue`));
  return setting !== '0' || (await countsAnyway(number));
}

/**
 * Whether the kernel counts a device's I/O although its `queue/iostats` is 0. Linux 6.1 counts for a logical volume
 * whatever that file says, and it says 0 by default; Linux 7.2 says 1, and with 0 it does not count. So this tries the
 * kernel: reads and writes are counted in the same place, and a read that bypasses the page cache shows whether it is
 * counted. False if that cannot be tried.
 */
async function countsAnyway(number: DeviceNumber): Promise<boolean> {
  // For a disk's own queue the file is right.
  if ((await readFile(`/sys/dev/block/${number}/dm/name`).catch(() => null)) === null) return false;
  try {
    const before = await readReadSectors(number);
    const file = await open(await nodeOf(number), constants.O_RDONLY | constants.O_DIRECT);
    const memory = allocateAligned(SECTOR);
    try {
      await file.read(memory, 0, SECTOR, 0);
    } finally {
      freeAligned(memory);
      await file.close();
    }
    return (await readReadSectors(number)) !== before;
  } catch {
    return false;
  }
}

async function readSetting(queue: string): Promise<string | null> {
  const text = await readFile(`${queue}/iostats`, 'latin1').catch(() => null);
  return text === null ? null : text.trim();
}
