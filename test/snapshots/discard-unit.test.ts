import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { DeviceNumber } from '../../src/device/device-facts.js';
import { ProcessSpawner } from '../../src/host/spawner.js';
import { findDiscardUnit } from '../../src/snapshots/thin-pool.js';

describe('what a discard surely zeroes', () => {
  it('is nothing on a disk, whatever the disk reports: only device-mapper is asked', async () => {
    const disk = readdirSync('/sys/class/block').find((name) => !name.startsWith('dm-'));
    const number = readFileSync(`/sys/class/block/${disk ?? ''}/dev`, 'utf8').trim() as DeviceNumber;
    expect(await findDiscardUnit(new ProcessSpawner({}), number)).toBeNull();
  });
});
