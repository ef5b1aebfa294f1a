import { expect, it } from 'vitest';
import { createVolume, digestOf, lvmsync, run, writeRandom } from './support/lab.js';
import { runLvmsync } from './support/outcomes.js';
import { useVolumeGroup } from './support/volume-group.js';

const GROUP = 'vg-part';
/** Whose extents are larger than the volume is long. */
const COARSE = 'vg-coarse';
const MIB = 1024 * 1024;

useVolumeGroup(GROUP);
useVolumeGroup(COARSE, '/dev/ubdb', '16M');

it('a volume that was made in larger extents comes back as large as it was', async () => {
  const origin = await createVolume(GROUP, 'vm', '20M');
  await writeRandom(origin, 0, 20 * MIB, 'vm');
  const before = await digestOf(origin);
  // what others left in the extents
  const old = await createVolume(COARSE, 'old', '32M');
  await writeRandom(old, 0, 32 * MIB, 'old');
  await run(['lvremove', '-qq', '-f', '-y', `${COARSE}/old`]);
  const there = `/dev/${COARSE}/vm`;
  await runLvmsync('copy', origin, there, '--create');
  expect(Number((await run(['blockdev', '--getsize64', there])).trim())).toBe(32 * MIB);
  const tail = await run(['sh', '-c', `tail -c ${12 * MIB} ${there} | tr -d '\\0' | wc -c`]);
  expect(tail.trim()).toBe('0');
  await writeRandom(origin, 0, 20 * MIB, 'lost');
  const { status, stderr } = await lvmsync(['copy', there, origin]);
  expect({ status, stderr }).toEqual({
    status: 0,
    stderr: expect.stringContaining('bytes are the volume that was copied to it; the zeroes') as string,
  });
  expect(await digestOf(origin)).toBe(before);
  await runLvmsync('verify', there, origin);
});
