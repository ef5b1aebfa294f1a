import { readFileSync } from 'node:fs';
import { aroundAll } from 'vitest';
import { run } from './run.js';
import { createVolumeGroup, removeVolumeGroup } from './volumes.js';

/**
 * Gives the tests of a file, or of a `describe`, a volume group: made before all their hooks, removed after them,
 * whatever failed, as the next file needs the disk. Where a volume is still in use, that is an error all the same.
 */
export function useVolumeGroup(name: string, disk?: string, extentSize?: string): void {
  aroundAll(async (runTests) => {
    await createVolumeGroup(name, disk, extentSize);
    try {
      await runTests();
    } finally {
      await removeVolumeGroup(name).catch(async (error: unknown) => {
        await removeWithUsers(name);
        throw error;
      });
    }
  });
}

/** Removes a volume group whose volumes are in use, with the mounts and the device-mapper devices that use them. */
export async function removeWithUsers(name: string): Promise<void> {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  for (const [, device = ''] of mounts.map((line) => /^(\/dev\/mapper\/\S+) /.exec(line) ?? []))
    if (device !== '') await run(['umount', '-l', device]);
  // all of them: in the guest there are no others, and not even LVM knows in which order
  await run(['dmsetup', 'remove_all', '--force']);
  await removeVolumeGroup(name);
}
