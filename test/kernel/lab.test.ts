import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createSnapshot,
  createVolume,
  createVolumeGroup,
  digestOf,
  mapperName,
  removeVolumeGroup,
  run,
  startSshd,
  statusOf,
  writeRandom,
} from './support/lab.js';

const CHUNK = 4096;

describe('the lab', () => {
  beforeAll(() => createVolumeGroup('my-lab'));
  afterAll(() => removeVolumeGroup('my-lab'));

  it('has a kernel that keeps what a snapshot froze', async () => {
    const origin = await createVolume('my-lab', 'origin', '16M');
    await writeRandom(origin, 0, 1024 * 1024, 'before');
    const before = await digestOf(origin);
    const snapshot = await createSnapshot('my-lab', 'origin', 'frozen', { size: '8M' });
    const name = mapperName('my-lab', 'frozen');
    expect(await statusOf(name, CHUNK)).toMatchObject({ exceptions: 0 });

    await writeRandom(origin, 10 * CHUNK, 3 * CHUNK, 'after');

    expect(await statusOf(name, CHUNK)).toMatchObject({ exceptions: 3 });
    expect(await digestOf(snapshot)).toBe(before);
    expect(await digestOf(origin)).not.toBe(before);
  });

  it('has an ssh server where lvmsync and LVM are found', async () => {
    const sshd = await startSshd();
    try {
      const answer = await run([
        'ssh',
        '-oBatchMode=yes',
        '127.0.0.1',
        'command -v lvmsync; vgs --noheadings -o name my-lab',
      ]);
      expect(answer.trim().split(/\s+/)).toEqual(['/run/bin/lvmsync', 'my-lab']);
    } finally {
      await sshd.stop();
    }
  });
});
