import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { OpenTarget } from '../../src/targets/open-target.js';
import { StateRecord } from '../../src/targets/state-record.js';
import type { MemoryDevice } from './memory-device.js';

/** A device in memory as an open target, with a folder of its own below `parent`, or one that it had before. */
export function openInMemory(
  device: MemoryDevice,
  parent: string,
  folder = mkdtempSync(join(parent, 'target-')),
): OpenTarget {
  // The record asks a file whether someone wrote; nobody does behind a device in memory.
  const stamp = join(folder, 'stamp');
  if (!existsSync(stamp)) writeFileSync(stamp, '');
  return {
    device: Object.assign(device, { number: null }),
    folder,
    stateDir: parent,
    recoverWords: `lvmsync recover ${device.path}`,
    record: new StateRecord(folder, { path: stamp, number: null }),
    checkStillAlone: () => Promise.resolve(),
    close: () => device.close(),
  };
}
